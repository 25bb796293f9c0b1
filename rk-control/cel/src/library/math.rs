//! Functions of numbers.

use std::cmp::Ordering;

use super::lists::extreme;
use super::{Made, double, failed, int, items, no_overload};
use crate::registry::Row;
use crate::value::Value;

pub(super) const TABLE: &[Row] = &[
    Row("math.greatest", "La>a", |_, a| of(a, Ordering::Greater)),
    Row("math.greatest", "I>I", |_, a| of(a, Ordering::Greater)),
    Row("math.greatest", "U>U", |_, a| of(a, Ordering::Greater)),
    Row("math.greatest", "D>D", |_, a| of(a, Ordering::Greater)),
    Row("math.greatest", "II>I", |_, a| of(a, Ordering::Greater)),
    Row("math.greatest", "DD>D", |_, a| of(a, Ordering::Greater)),
    Row("math.greatest", "**>*", |_, a| of(a, Ordering::Greater)),
    Row("math.greatest", "***>*", |_, a| of(a, Ordering::Greater)),
    Row("math.greatest", "****>*", |_, a| of(a, Ordering::Greater)),
    Row("math.least", "La>a", |_, a| of(a, Ordering::Less)),
    Row("math.least", "I>I", |_, a| of(a, Ordering::Less)),
    Row("math.least", "U>U", |_, a| of(a, Ordering::Less)),
    Row("math.least", "D>D", |_, a| of(a, Ordering::Less)),
    Row("math.least", "II>I", |_, a| of(a, Ordering::Less)),
    Row("math.least", "DD>D", |_, a| of(a, Ordering::Less)),
    Row("math.least", "**>*", |_, a| of(a, Ordering::Less)),
    Row("math.least", "***>*", |_, a| of(a, Ordering::Less)),
    Row("math.least", "****>*", |_, a| of(a, Ordering::Less)),
    Row("math.ceil", "D>D", |_, a| Ok(Value::Double(double(a, 0).ceil()))),
    Row("math.floor", "D>D", |_, a| Ok(Value::Double(double(a, 0).floor()))),
    Row("math.round", "D>D", |_, a| Ok(Value::Double(double(a, 0).round()))),
    Row("math.trunc", "D>D", |_, a| Ok(Value::Double(double(a, 0).trunc()))),
    Row("math.isNaN", "D>B", |_, a| Ok(Value::Bool(double(a, 0).is_nan()))),
    Row("math.isInf", "D>B", |_, a| Ok(Value::Bool(double(a, 0).is_infinite()))),
    Row("math.isFinite", "D>B", |_, a| Ok(Value::Bool(double(a, 0).is_finite()))),
    Row("math.sqrt", "D>D", |_, a| Ok(Value::Double(double(a, 0).sqrt()))),
    Row("math.abs", "I>I", |_, a| match int(a, 0).checked_abs() {
        Some(int) => Ok(Value::Int(int)),
        None => failed("integer overflow"),
    }),
    Row("math.abs", "D>D", |_, a| Ok(Value::Double(double(a, 0).abs()))),
    Row("math.sign", "I>I", |_, a| Ok(Value::Int(int(a, 0).signum()))),
    Row("math.sign", "D>D", |_, a| {
        let number = double(a, 0);
        Ok(Value::Double(if number == 0.0 { number } else { number.signum() }))
    }),
    Row("math.bitAnd", "II>I", |_, a| Ok(Value::Int(int(a, 0) & int(a, 1)))),
    Row("math.bitOr", "II>I", |_, a| Ok(Value::Int(int(a, 0) | int(a, 1)))),
    Row("math.bitXor", "II>I", |_, a| Ok(Value::Int(int(a, 0) ^ int(a, 1)))),
    Row("math.bitNot", "I>I", |_, a| Ok(Value::Int(!int(a, 0)))),
];

fn of<'a>(args: &[Value<'a>], wanted: Ordering) -> Made<'a> {
    let all = match args {
        [list] if list.items().is_some() => items(args, 0),
        _ => args.to_vec(),
    };
    let number = |value: &Value<'_>| matches!(value, Value::Int(_) | Value::Uint(_) | Value::Double(_));
    if !all.iter().all(number) {
        return no_overload();
    }
    extreme(&all, if wanted == Ordering::Less { "math.least" } else { "math.greatest" }, wanted)
}

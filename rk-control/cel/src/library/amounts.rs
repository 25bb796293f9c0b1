//! Quantities: `100m`, `1Gi`.

use std::cmp::Ordering;

use rk_api::meta::{Format, Quantity};

use super::{Made, failed, no_overload, text};
use crate::registry::Row;
use crate::value::Value;

pub(super) const TABLE: &[Row] = &[
    Row("quantity", "S>Q", |_, a| match text(a, 0).parse() {
        Ok(quantity) => Ok(Value::Quantity(quantity)),
        Err(_) => failed("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"),
    }),
    Row("isQuantity", "S>B", |_, a| Ok(Value::Bool(text(a, 0).parse::<Quantity>().is_ok()))),
    Row("sign", "Q>I", |_, a| one(a, |q| Some(Value::Int(i64::from(q.sign()))))),
    Row("isInteger", ".Q>B", |_, a| one(a, |q| Some(Value::Bool(q.is_integer())))),
    Row("asInteger", ".Q>I", |_, a| one(a, |q| q.is_integer().then(|| Value::Int(q.units())))),
    Row("asApproximateFloat", ".Q>D", |_, a| one(a, |q| Some(Value::Double(q.as_f64())))),
    Row("add", ".QQ>Q", |_, a| two(a, |a, b| Value::Quantity(a + b))),
    Row("add", ".QI>Q", |_, a| two(a, |a, b| Value::Quantity(a + b))),
    Row("sub", ".QQ>Q", |_, a| two(a, |a, b| Value::Quantity(a - b))),
    Row("sub", ".QI>Q", |_, a| two(a, |a, b| Value::Quantity(a - b))),
    Row("isGreaterThan", ".QQ>B", |_, a| two(a, |a, b| Value::Bool(a > b))),
    Row("isLessThan", ".QQ>B", |_, a| two(a, |a, b| Value::Bool(a < b))),
    Row("compareTo", ".QQ>I", |_, a| {
        two(a, |a, b| {
            Value::Int(match a.cmp(&b) {
                Ordering::Less => -1,
                Ordering::Equal => 0,
                Ordering::Greater => 1,
            })
        })
    }),
];

fn one<'a>(args: &[Value<'a>], body: fn(Quantity) -> Option<Value<'static>>) -> Made<'a> {
    match args {
        [Value::Quantity(own)] => body(*own).map_or_else(|| failed("cannot convert value to integer"), Ok),
        _ => no_overload(),
    }
}

fn two<'a>(args: &[Value<'a>], body: fn(Quantity, Quantity) -> Value<'static>) -> Made<'a> {
    match args {
        [Value::Quantity(own), Value::Quantity(other)] => Ok(body(*own, *other)),
        [Value::Quantity(own), Value::Int(other)] => Ok(body(*own, Quantity::from_units(*other, Format::DecimalSi))),
        _ => no_overload(),
    }
}

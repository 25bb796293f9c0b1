//! Operators: arithmetic that reports overflow, comparisons, membership, indexes.

use std::cmp::Ordering;

use serde_json::Value as Json;

use super::{Made, double, failed, no_overload};
use crate::eval::{Context, Failure, equal, order};
use crate::registry::Row;
use crate::value::{Text, Value};

pub(super) const TABLE: &[Row] = &[
    Row("_+_", "II>I", |_, a| ints(a, i64::checked_add)),
    Row("_+_", "UU>U", |_, a| uints(a, u64::checked_add)),
    Row("_+_", "DD>D", |_, a| Ok(Value::Double(double(a, 0) + double(a, 1)))),
    Row("_+_", "SS>S", join),
    Row("_+_", "YY>Y", |_, a| match a {
        [Value::Bytes(a), Value::Bytes(b)] => Ok(Value::Bytes([&**a, &**b].concat().into())),
        _ => no_overload(),
    }),
    Row("_+_", "LaLa>La", lists),
    Row("_+_", "RR>R", |_, a| spans(a, i64::checked_add)),
    Row("_+_", "TR>T", |_, a| shift(a, false)),
    Row("_+_", "RT>T", |_, a| shift(a, false)),
    Row("_-_", "II>I", |_, a| ints(a, i64::checked_sub)),
    Row("_-_", "UU>U", |_, a| uints(a, u64::checked_sub)),
    Row("_-_", "DD>D", |_, a| Ok(Value::Double(double(a, 0) - double(a, 1)))),
    Row("_-_", "RR>R", |_, a| spans(a, i64::checked_sub)),
    Row("_-_", "TR>T", |_, a| shift(a, true)),
    Row("_-_", "TT>R", |_, a| match a {
        [Value::Time(a), Value::Time(b)] => match i64::try_from(a.as_nanosecond() - b.as_nanosecond()) {
            Ok(nanos) => Ok(Value::Span(nanos)),
            Err(_) => failed("integer overflow"),
        },
        _ => no_overload(),
    }),
    Row("_*_", "II>I", |_, a| ints(a, i64::checked_mul)),
    Row("_*_", "UU>U", |_, a| uints(a, u64::checked_mul)),
    Row("_*_", "DD>D", |_, a| Ok(Value::Double(double(a, 0) * double(a, 1)))),
    Row("_/_", "II>I", |_, a| nonzero(a, "division by zero").and_then(|()| ints(a, i64::checked_div))),
    Row("_/_", "UU>U", |_, a| nonzero(a, "division by zero").and_then(|()| uints(a, u64::checked_div))),
    Row("_/_", "DD>D", |_, a| Ok(Value::Double(double(a, 0) / double(a, 1)))),
    Row("_%_", "II>I", |_, a| nonzero(a, "modulus by zero").and_then(|()| ints(a, i64::checked_rem))),
    Row("_%_", "UU>U", |_, a| nonzero(a, "modulus by zero").and_then(|()| uints(a, u64::checked_rem))),
    Row("-_", "I>I", |_, a| match a {
        [Value::Int(int)] => int.checked_neg().map_or_else(|| failed("integer overflow"), |int| Ok(Value::Int(int))),
        _ => no_overload(),
    }),
    Row("-_", "D>D", |_, a| Ok(Value::Double(-double(a, 0)))),
    Row("!_", "B>B", |_, a| match a {
        [Value::Bool(value)] => Ok(Value::Bool(!value)),
        _ => no_overload(),
    }),
    Row("_==_", "aa>B", |_, a| Ok(Value::Bool(matches!(a, [a, b] if equal(a, b))))),
    Row("_!=_", "aa>B", |_, a| Ok(Value::Bool(!matches!(a, [a, b] if equal(a, b))))),
    Row("@in", "aLa>B", |_, a| match a {
        [wanted, list] => Ok(Value::Bool(list.items().is_some_and(|all| all.iter().any(|item| equal(item, wanted))))),
        _ => no_overload(),
    }),
    Row("@in", "aMab>B", |_, a| match a {
        [wanted, map] => Ok(Value::Bool(map.has(wanted))),
        _ => no_overload(),
    }),
    Row("_[_]", "LaI>a", |_, a| at(a)),
    Row("_[_]", "Maba>b", |_, a| at(a)),
    Row("_[_]", "OLaI>Oa", |_, a| maybe_at(a)),
    Row("_[_]", "OMaba>Ob", |_, a| maybe_at(a)),
    Row("_[?_]", "LaI>Oa", |_, a| maybe_at(a)),
    Row("_[?_]", "Maba>Ob", |_, a| maybe_at(a)),
    Row("_[?_]", "OLaI>Oa", |_, a| maybe_at(a)),
    Row("_[?_]", "OMaba>Ob", |_, a| maybe_at(a)),
];

/// The comparisons, for every pair of types that has an order.
macro_rules! comparisons {
    ($($name:literal $test:expr),*) => {
        &[$(
            Row($name, "BB>B", |_, a| compare(a, $test)),
            Row($name, "II>B", |_, a| compare(a, $test)),
            Row($name, "IU>B", |_, a| compare(a, $test)),
            Row($name, "ID>B", |_, a| compare(a, $test)),
            Row($name, "UU>B", |_, a| compare(a, $test)),
            Row($name, "UI>B", |_, a| compare(a, $test)),
            Row($name, "UD>B", |_, a| compare(a, $test)),
            Row($name, "DD>B", |_, a| compare(a, $test)),
            Row($name, "DI>B", |_, a| compare(a, $test)),
            Row($name, "DU>B", |_, a| compare(a, $test)),
            Row($name, "SS>B", |_, a| compare(a, $test)),
            Row($name, "YY>B", |_, a| compare(a, $test)),
            Row($name, "TT>B", |_, a| compare(a, $test)),
            Row($name, "RR>B", |_, a| compare(a, $test)),
        )*]
    };
}

pub(super) const COMPARISONS: &[Row] =
    comparisons!("_<_" Ordering::is_lt, "_<=_" Ordering::is_le, "_>_" Ordering::is_gt, "_>=_" Ordering::is_ge);

fn compare<'a>(args: &[Value<'a>], test: fn(Ordering) -> bool) -> Made<'a> {
    match args {
        // Without an order (NaN) no comparison holds.
        [a, b] => Ok(Value::Bool(order(a, b).is_some_and(test))),
        _ => no_overload(),
    }
}

fn ints<'a>(args: &[Value<'a>], op: fn(i64, i64) -> Option<i64>) -> Made<'a> {
    match args {
        [Value::Int(a), Value::Int(b)] => op(*a, *b).map_or_else(|| failed("integer overflow"), |n| Ok(Value::Int(n))),
        _ => no_overload(),
    }
}

fn uints<'a>(args: &[Value<'a>], op: fn(u64, u64) -> Option<u64>) -> Made<'a> {
    match args {
        [Value::Uint(a), Value::Uint(b)] => {
            op(*a, *b).map_or_else(|| failed("unsigned integer overflow"), |n| Ok(Value::Uint(n)))
        }
        _ => no_overload(),
    }
}

fn spans<'a>(args: &[Value<'a>], op: fn(i64, i64) -> Option<i64>) -> Made<'a> {
    match args {
        [Value::Span(a), Value::Span(b)] => {
            op(*a, *b).map_or_else(|| failed("integer overflow"), |n| Ok(Value::Span(n)))
        }
        _ => no_overload(),
    }
}

fn nonzero(args: &[Value<'_>], why: &str) -> Result<(), Failure> {
    match args {
        [_, Value::Int(0) | Value::Uint(0)] => Err(Failure::new(why)),
        _ => Ok(()),
    }
}

fn shift<'a>(args: &[Value<'a>], back: bool) -> Made<'a> {
    let ([Value::Time(time), Value::Span(nanos)] | [Value::Span(nanos), Value::Time(time)]) = args else {
        return no_overload();
    };
    let nanos = if back { -i128::from(*nanos) } else { i128::from(*nanos) };
    match jiff::Timestamp::from_nanosecond(time.as_nanosecond() + nanos) {
        Ok(time) if time >= super::time::earliest() => Ok(Value::Time(time)),
        _ => failed("timestamp overflow"),
    }
}

fn join<'a>(context: &mut Context<'a>, args: &[Value<'a>]) -> Made<'a> {
    let [Value::Str(a), Value::Str(b)] = args else { return no_overload() };
    // What is made may be looked at again: it costs as much as it is long.
    context.charge(u64::try_from((a.as_str().len() + b.as_str().len()) / 10).unwrap_or(0))?;
    Ok(Value::text([a.as_str(), b.as_str()].concat()))
}

/// Lists one after the other; those of a schema keep its rule: a set takes what it lacks, a keyed list replaces what it has.
fn lists<'a>(context: &mut Context<'a>, args: &[Value<'a>]) -> Made<'a> {
    let [left, right] = args else { return no_overload() };
    let (Some(mut items), Some(others)) = (left.items(), right.items()) else { return no_overload() };
    context.charge(u64::try_from(items.len() + others.len()).unwrap_or(0))?;
    let schema = match left {
        Value::Json(Json::Array(_), Some(schema)) => schema,
        _ => &Json::Null,
    };
    match schema.get("x-kubernetes-list-type").and_then(Json::as_str) {
        Some("set") => {
            for other in others {
                if !items.iter().any(|item| equal(item, &other)) {
                    items.push(other);
                }
            }
        }
        Some("map") => {
            let keys = schema.get("x-kubernetes-list-map-keys").and_then(Json::as_array);
            let keys: Vec<&str> = keys.into_iter().flatten().filter_map(Json::as_str).collect();
            let same = |a: &Value<'a>, b: &Value<'a>| {
                keys.iter().all(|key| match (a.member(key), b.member(key)) {
                    (Some(a), Some(b)) => equal(&a, &b),
                    (a, b) => a.is_none() && b.is_none(),
                })
            };
            for other in others {
                match items.iter_mut().find(|item| same(item, &other)) {
                    Some(slot) => *slot = other,
                    None => items.push(other),
                }
            }
        }
        _ => items.extend(others),
    }
    Ok(Value::list(items))
}

fn found<'a>(on: &Value<'a>, key: &Value<'a>) -> Option<Value<'a>> {
    match key {
        Value::Int(index) if on.item(0).is_some() => on.item(usize::try_from(*index).ok()?),
        key => on.get(key),
    }
}

fn at<'a>(args: &[Value<'a>]) -> Made<'a> {
    let [on, key] = args else { return no_overload() };
    match found(on, key) {
        Some(value) => Ok(value),
        None => failed(match key {
            Value::Int(index) if on.entries().is_none() => format!("index out of bounds: {index}"),
            Value::Str(Text::Ref(key)) => format!("no such key: {key}"),
            Value::Str(Text::Own(key)) => format!("no such key: {key}"),
            Value::Int(key) => format!("no such key: {key}"),
            Value::Uint(key) => format!("no such key: {key}"),
            Value::Bool(key) => format!("no such key: {key}"),
            _ => "no such key".to_owned(),
        }),
    }
}

fn maybe_at<'a>(args: &[Value<'a>]) -> Made<'a> {
    let [on, key] = args else { return no_overload() };
    let on = match on {
        Value::Optional(None) => return Ok(Value::Optional(None)),
        Value::Optional(Some(inner)) => inner,
        on => on,
    };
    Ok(found(on, key).map_or(Value::Optional(None), Value::some))
}

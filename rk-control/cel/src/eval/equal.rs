//! Equality and order of values.

use std::cmp::Ordering;

use serde_json::Value as Json;

use crate::value::Value;

/// Whether two values are equal. Numbers are compared by what they are worth; lists that a schema calls sets, in any order.
pub(crate) fn equal(a: &Value<'_>, b: &Value<'_>) -> bool {
    match (a, b) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Bytes(a), Value::Bytes(b)) => a == b,
        (Value::Str(a), Value::Str(b)) => a.as_str() == b.as_str(),
        (Value::Time(a), Value::Time(b)) => a == b,
        (Value::Span(a), Value::Span(b)) => a == b,
        (Value::Type(a), Value::Type(b)) => a == b,
        (Value::Quantity(a), Value::Quantity(b)) => a == b,
        (Value::Url(a), Value::Url(b)) => a == b,
        (Value::Ip(a), Value::Ip(b)) => a == b,
        (Value::Cidr(a), Value::Cidr(b)) => a == b,
        (Value::Semver(a), Value::Semver(b)) => a == b,
        (Value::Format(a), Value::Format(b)) => a == b,
        (Value::Authz(a), Value::Authz(b)) => a == b,
        (Value::Optional(a), Value::Optional(b)) => match (a, b) {
            (Some(a), Some(b)) => equal(a, b),
            (a, b) => a.is_none() && b.is_none(),
        },
        (Value::Made(name, fields), Value::Made(other, others)) => {
            let held =
                |(key, value): &(&str, Value<'_>)| others.iter().any(|(own, other)| own == key && equal(value, other));
            name == other && fields.len() == others.len() && fields.iter().all(held)
        }
        _ => match order(a, b) {
            Some(order) => order == Ordering::Equal,
            None => lists(a, b).or_else(|| maps(a, b)).unwrap_or(false),
        },
    }
}

fn lists(a: &Value<'_>, b: &Value<'_>) -> Option<bool> {
    let (items, others) = (a.items()?, b.items()?);
    if items.len() != others.len() {
        return Some(false);
    }
    if kind_of(a).is_some_and(|kind| kind == "set" || kind == "map") {
        return Some(items.iter().all(|item| others.iter().any(|other| equal(item, other))));
    }
    Some(items.iter().zip(&others).all(|(item, other)| equal(item, other)))
}

/// The list type of a schema: `atomic`, `set` or `map`.
pub(super) fn kind_of<'a>(list: &Value<'a>) -> Option<&'a str> {
    match list {
        Value::Json(Json::Array(_), Some(schema)) => schema.get("x-kubernetes-list-type").and_then(Json::as_str),
        _ => None,
    }
}

fn maps(a: &Value<'_>, b: &Value<'_>) -> Option<bool> {
    let (entries, others) = (a.entries()?, b.entries()?);
    let held = |(key, value): &(Value<'_>, Value<'_>)| b.get(key).is_some_and(|other| equal(value, &other));
    Some(entries.len() == others.len() && entries.iter().all(held))
}

fn compare_doubles(int: i128, double: f64) -> Option<Ordering> {
    // Every integer here is far inside what i128 holds; what is beyond it is larger or smaller than all of them.
    if double.is_nan() {
        return None;
    }
    let whole = double.floor();
    let order = int.cmp(&(whole as i128));
    Some(if order == Ordering::Equal && double > whole { Ordering::Less } else { order })
}

fn whole(value: &Value<'_>) -> Option<i128> {
    match value {
        Value::Int(int) => Some(i128::from(*int)),
        Value::Uint(uint) => Some(i128::from(*uint)),
        _ => None,
    }
}

/// The order of two values that have one.
pub(crate) fn order(a: &Value<'_>, b: &Value<'_>) -> Option<Ordering> {
    match (a, b) {
        (Value::Double(a), Value::Double(b)) => a.partial_cmp(b),
        (Value::Double(a), b) => compare_doubles(whole(b)?, *a).map(Ordering::reverse),
        (a, Value::Double(b)) => compare_doubles(whole(a)?, *b),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::Str(a), Value::Str(b)) => Some(a.as_str().cmp(b.as_str())),
        (Value::Bytes(a), Value::Bytes(b)) => Some(a.cmp(b)),
        (Value::Time(a), Value::Time(b)) => Some(a.cmp(b)),
        (Value::Span(a), Value::Span(b)) => Some(a.cmp(b)),
        (Value::Quantity(a), Value::Quantity(b)) => Some(a.cmp(b)),
        (Value::Semver(a), Value::Semver(b)) => Some(a.cmp(b)),
        (a, b) => Some(whole(a)?.cmp(&whole(b)?)),
    }
}

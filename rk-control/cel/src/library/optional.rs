//! Values that may not be there.

use super::{Made, failed, items, no_overload};
use crate::registry::Row;
use crate::value::Value;

pub(super) const TABLE: &[Row] = &[
    Row("optional.of", "a>Oa", |_, a| match a {
        [value] => Ok(Value::some(value.clone())),
        _ => no_overload(),
    }),
    Row("optional.ofNonZeroValue", "a>Oa", |_, a| match a {
        [value] if is_zero(value) => Ok(Value::Optional(None)),
        [value] => Ok(Value::some(value.clone())),
        _ => no_overload(),
    }),
    Row("optional.none", ">Oa", |_, _| Ok(Value::Optional(None))),
    Row("optional.unwrap", "LOa>La", |_, a| unwrapped(a)),
    Row("unwrapOpt", ".LOa>La", |_, a| unwrapped(a)),
    Row("hasValue", ".Oa>B", |_, a| Ok(Value::Bool(matches!(a, [Value::Optional(Some(_))])))),
    Row("value", ".Oa>a", |_, a| match a {
        [Value::Optional(Some(inner))] => Ok((**inner).clone()),
        _ => failed("optional.none() dereference"),
    }),
    Row("or", ".OaOa>Oa", |_, a| match a {
        [Value::Optional(None), other] => Ok(other.clone()),
        [own, _] => Ok(own.clone()),
        _ => no_overload(),
    }),
    Row("orValue", ".Oaa>a", |_, a| or_value(a)),
];

/// The values that are there.
fn unwrapped<'a>(args: &[Value<'a>]) -> Made<'a> {
    let there = |item: Value<'a>| match item {
        Value::Optional(inner) => inner.map(|inner| (*inner).clone()),
        other => Some(other),
    };
    Ok(Value::list(items(args, 0).into_iter().filter_map(there).collect()))
}

fn or_value<'a>(args: &[Value<'a>]) -> Made<'a> {
    match args {
        [Value::Optional(Some(inner)), _] => Ok((**inner).clone()),
        [_, other] => Ok(other.clone()),
        _ => no_overload(),
    }
}

fn is_zero(value: &Value<'_>) -> bool {
    match value {
        Value::Null | Value::Bool(false) | Value::Int(0) | Value::Uint(0) | Value::Span(0) => true,
        Value::Double(double) => *double == 0.0,
        other => other.length() == Some(0),
    }
}

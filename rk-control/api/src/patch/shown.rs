//! Values as Go's `fmt` prints them under `%v`: messages about strategic merge patches quote them so.

use serde_json::{Number, Value};

use crate::Object;
use crate::decode::found;
use crate::status::quote;

/// A value: `map[a:1 b:[x <nil>]]`, members in the order of their names.
pub fn shown(value: &Value) -> String {
    let mut out = String::new();
    write(&mut out, value);
    out
}

/// A value as `%#v` prints it: `map[string]interface {}{"a":1, "b":interface {}(nil)}`.
pub(crate) fn written(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".to_owned(),
        Value::String(text) => quote(text),
        Value::Array(list) => {
            let items: Vec<String> = list.iter().map(written).collect();
            format!("[]interface {{}}{{{}}}", items.join(", "))
        }
        Value::Object(object) => {
            let member = |(name, value): (&String, &Value)| format!("{}:{}", quote(name), written(value));
            let members: Vec<String> = object.iter().map(member).collect();
            format!("{MAP}{{{}}}", members.join(", "))
        }
        Value::Bool(_) | Value::Number(_) => shown(value),
    }
}

/// A value in the place of a text, as `%s` prints it: what is none is marked with the type that it has.
pub(super) fn shown_as_text(value: &Value) -> String {
    match value {
        Value::Null => "%!s(<nil>)".to_owned(),
        Value::Bool(_) | Value::Number(_) => format!("%!s({}={})", type_name(value), shown(value)),
        _ => shown(value),
    }
}

/// An object, as [`shown`].
pub(super) fn shown_map(object: &Object) -> String {
    let mut out = String::new();
    write_map(&mut out, object);
    out
}

/// A list, as [`shown`].
pub(super) fn shown_list(list: &[Value]) -> String {
    let mut out = String::new();
    write_list(&mut out, list);
    out
}

/// The Go type of objects.
pub(crate) const MAP: &str = "map[string]interface {}";

/// What upstream's decoder says of a value in the place of a `wanted` one.
#[must_use]
pub fn unfit(value: &Value, wanted: &str) -> String {
    format!("json: cannot unmarshal {} into Go value of type {wanted}", found(value))
}

/// The same of a value in a field (`Status.response.status.code`).
#[must_use]
pub fn unfit_field(value: &Value, field: &str, wanted: &str) -> String {
    format!("json: cannot unmarshal {} into Go struct field {field} of type {wanted}", found(value))
}

/// The Go type that a decoded value has; of null, what `%s` makes of there being none.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "%!s(<nil>)",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.as_i64().is_some() => "int64",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => MAP,
    }
}

/// The Go type that a decoded value has, as `%T` prints it.
#[must_use]
pub fn go_type(value: &Value) -> &'static str {
    if value.is_null() { "<nil>" } else { type_name(value) }
}

fn write(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("<nil>"),
        Value::Bool(truth) => out.push_str(if *truth { "true" } else { "false" }),
        Value::Number(number) => out.push_str(&number_text(number)),
        Value::String(text) => out.push_str(text),
        Value::Array(list) => write_list(out, list),
        Value::Object(object) => write_map(out, object),
    }
}

fn write_map(out: &mut String, object: &Object) {
    let mut members: Vec<(&String, &Value)> = object.iter().collect();
    members.sort_by_key(|(name, _)| *name);
    out.push_str("map[");
    for (place, (name, value)) in members.into_iter().enumerate() {
        if place > 0 {
            out.push(' ');
        }
        out.push_str(name);
        out.push(':');
        write(out, value);
    }
    out.push(']');
}

fn write_list(out: &mut String, list: &[Value]) {
    out.push('[');
    for (place, value) in list.iter().enumerate() {
        if place > 0 {
            out.push(' ');
        }
        write(out, value);
    }
    out.push(']');
}

fn number_text(number: &Number) -> String {
    match number.as_i64() {
        Some(whole) => whole.to_string(),
        None => float_text(number.as_f64().unwrap_or_default()),
    }
}

/// The shortest digits that mean this number; with an exponent of two digits at least where `%v` takes one.
fn float_text(value: f64) -> String {
    if value == 0.0 || (1e-4..1e6).contains(&value.abs()) {
        return value.to_string();
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((text.as_str(), "0"));
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(rest) => ('-', rest),
        None => ('+', exponent),
    };
    format!("{digits}e{sign}{exponent:0>2}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_printed_as_go_prints_them() {
        for (value, want) in [
            (json!(null), "<nil>"),
            (json!(true), "true"),
            (json!("a b"), "a b"),
            (json!(""), ""),
            (json!(-3), "-3"),
            (json!(i64::MAX), "9223372036854775807"),
            (json!(u64::MAX), "1.8446744073709552e+19"),
            (json!(5.0), "5"),
            (json!(1.5), "1.5"),
            (json!(0.0001), "0.0001"),
            (json!(0.00001), "1e-05"),
            (json!(-1.5e-7), "-1.5e-07"),
            (json!(123456.5), "123456.5"),
            (json!(1000000.0), "1e+06"),
            (json!(1e21), "1e+21"),
            (json!(1.25e100), "1.25e+100"),
            (json!({}), "map[]"),
            (json!([]), "[]"),
            (
                json!({"b": [1, "x", null, {"z": false}], "a": {"k": "v"}, "B": ""}),
                "map[B: a:map[k:v] b:[1 x <nil> map[z:false]]]",
            ),
        ] {
            assert_eq!(shown(&value), want, "{value}");
        }
        assert_eq!(shown_list(&[json!("a"), json!(1)]), "[a 1]");
    }

    #[test]
    fn values_are_written_as_go_writes_them() {
        for (value, want) in [
            (json!(3), "3"),
            (json!(1e20), "1e+20"),
            (json!(true), "true"),
            (json!("a\"b\n\u{e9}\u{200b}"), "\"a\\\"b\\n\u{e9}\\u200b\""),
            (json!([]), "[]interface {}{}"),
            (
                json!([1, null, {"b": null, "a": ["x"]}]),
                r#"[]interface {}{1, interface {}(nil), map[string]interface {}{"a":[]interface {}{"x"}, "b":interface {}(nil)}}"#,
            ),
        ] {
            assert_eq!(written(&value), want, "{value}");
        }
    }

    #[test]
    fn what_is_no_text_says_so_in_the_place_of_one() {
        for (value, want) in [
            (json!("x"), "x"),
            (json!(null), "%!s(<nil>)"),
            (json!(true), "%!s(bool=true)"),
            (json!(3), "%!s(int64=3)"),
            (json!(1.5), "%!s(float64=1.5)"),
        ] {
            assert_eq!(shown_as_text(&value), want);
        }
    }
}

//! What a strategic merge patch makes goes into a typed object without a detour over text: what does not fit there has words of its own.

use serde_json::Value;

use crate::schema::{Schema, Shape};

/// Why a value is none of its schema, in the words of upstream's converter; `None` where it fits, or has a decoder of its own
/// (quantities, times).
pub fn misconverted(value: &Value, schema: &Schema) -> Option<String> {
    match (schema.shape(), value) {
        (_, Value::Null) => None,
        (Shape::Object, Value::Object(members)) => {
            members.iter().find_map(|(name, value)| misconverted(value, &schema.field(name)?))
        }
        (Shape::Map, Value::Object(members)) => members.values().find_map(|value| misconverted(value, &schema.item())),
        (Shape::List, Value::Array(items)) => items.iter().find_map(|item| misconverted(item, &schema.item())),
        (Shape::Object, other) => Some(format!("cannot restore struct from: {}", kind(other))),
        (Shape::Map, other) => Some(format!("cannot restore map from {}", kind(other))),
        (Shape::Bytes, Value::String(_)) => None,
        (Shape::List | Shape::Bytes, other) => Some(format!("cannot restore slice from {}", kind(other))),
        (Shape::String, other) => scalar(other, "string"),
        (Shape::Bool, other) => scalar(other, "bool"),
        (Shape::Int32, other) => scalar(other, "int32"),
        (Shape::Int64, other) => scalar(other, "int64"),
        (Shape::Double, other) => scalar(other, "float64"),
        (Shape::Any | Shape::IntOrString | Shape::Quantity | Shape::Time | Shape::MicroTime, _) => None,
    }
}

/// The kind of a decoded value in Go.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "invalid",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.as_i64().is_some() => "int64",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "slice",
        Value::Object(_) => "map",
    }
}

/// Go converts numbers among each other, and whole numbers to letters, which is refused; for the rest there is no way at all.
fn scalar(value: &Value, wanted: &str) -> Option<String> {
    let found = kind(value);
    match (found, wanted) {
        _ if found == wanted => None,
        ("int64", "int32" | "float64") => None,
        ("float64", "int32" | "int64") if value.as_f64().is_some_and(|number| number.fract() == 0.0) => None,
        ("float64", "int32" | "int64") | ("int64", "string") => Some(format!("cannot convert {found} to {wanted}")),
        _ => Some(format!("unrecognized type: {wanted}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_does_not_fit_is_told_as_upstream_s_converter_tells_it() {
        let pod = Schema::named("core/v1.PodSpec").unwrap();
        for (value, want) in [
            (json!({"nodeName": "n", "priority": 5, "unknown": 1, "hostNetwork": null}), None),
            (json!({"nodeName": 5}), Some("cannot convert int64 to string")),
            (json!({"nodeName": true}), Some("unrecognized type: string")),
            (json!({"nodeName": ["n"]}), Some("unrecognized type: string")),
            (json!({"priority": "5"}), Some("unrecognized type: int32")),
            (json!({"priority": 5.0}), None),
            (json!({"priority": 5.5}), Some("cannot convert float64 to int32")),
            (json!({"activeDeadlineSeconds": {}}), Some("unrecognized type: int64")),
            (json!({"hostNetwork": "true"}), Some("unrecognized type: bool")),
            (json!({"securityContext": "x"}), Some("cannot restore struct from: string")),
            (json!({"nodeSelector": 1}), Some("cannot restore map from int64")),
            (json!({"nodeSelector": {"a": 1}}), Some("cannot convert int64 to string")),
            (json!({"containers": {}}), Some("cannot restore slice from map")),
            (json!({"containers": [{"name": "c"}, {"args": [false]}]}), Some("unrecognized type: string")),
        ] {
            assert_eq!(misconverted(&value, &pod).as_deref(), want, "{value}");
        }
    }
}

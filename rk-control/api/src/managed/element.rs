//! What identifies an element of a list.

use serde_json::{Value, json};

use super::path::PathElement;
use crate::Object;
use crate::schema::{Lists, Schema, Shape};

/// The path element of an element of a set or keyed list. `Err` names a key that the element leaves out.
pub(super) fn of(item: &Value, list: &Schema) -> Result<PathElement, String> {
    match list.lists() {
        Lists::Set => Ok(PathElement::value(&item.to_string())),
        Lists::Atomic => Err("an atomic list has no elements of its own".into()),
        Lists::Map => {
            let mut keys = Object::new();
            let schema = list.item();
            for key in list.list_keys() {
                let value = item.get(key).filter(|v| !v.is_null()).cloned().or_else(|| default(&schema, key));
                let value = value.ok_or_else(|| {
                    format!("associative list with keys has an element that omits key field {key:?} (and doesn't have default value)")
                })?;
                keys.insert(key.to_owned(), value);
            }
            Ok(PathElement::key(&Value::Object(keys).to_string()))
        }
    }
}

/// The value of a key that defaulting would fill in: every `protocol` of the built-in API is TCP unless said otherwise, a reference names
/// nothing, and what is always written is zero.
fn default(item: &Schema, key: &str) -> Option<Value> {
    let field = item.field(key)?;
    if item.as_made().is_some() {
        return field.default_value().cloned();
    }
    match field.shape() {
        _ if key == "protocol" => Some(json!("TCP")),
        _ if item.type_name() == "core/v1.LocalObjectReference" => Some(json!("")),
        _ if field.is_pointer() || !field.is_written() => None,
        Shape::String => Some(json!("")),
        Shape::Int32 | Shape::Int64 => Some(json!(0)),
        _ => None,
    }
}

/// Whether a value says nothing: null or an empty collection.
pub(super) fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(object) => object.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

//! Filling in the defaults of a schema.

use serde_json::Value;

use super::node::flag;
use crate::decode::settle;

/// Adds what is absent and has a default, at every depth.
pub(super) fn apply(value: &mut Value, schema: &Value) {
    match value {
        Value::Object(object) => {
            let properties = schema.get("properties").and_then(Value::as_object);
            for (name, property) in properties.into_iter().flatten() {
                let missing = match object.get(name) {
                    None => true,
                    Some(Value::Null) => !flag(property, "nullable"),
                    Some(_) => false,
                };
                if let Some(default) = property.get("default").filter(|_| missing) {
                    object.insert(name.clone(), written(default));
                }
                if let Some(inner) = object.get_mut(name) {
                    apply(inner, property);
                }
            }
            if let Some(values) = schema.get("additionalProperties").filter(|values| values.is_object()) {
                let named = |name: &str| properties.is_some_and(|properties| properties.contains_key(name));
                for (_, inner) in object.iter_mut().filter(|(name, _)| !named(name)) {
                    within(inner, values);
                }
            }
        }
        Value::Array(items) => {
            let Some(schema) = schema.get("items").filter(|items| items.is_object()) else { return };
            items.iter_mut().for_each(|item| within(item, schema));
        }
        _ => {}
    }
}

/// A default as it is in an object: its numbers are written as those of others.
fn written(default: &Value) -> Value {
    let mut value = default.clone();
    settle(&mut value);
    value
}

/// The same of a value in a map or list: where it may not be null, null stands for the default.
fn within(value: &mut Value, schema: &Value) {
    if value.is_null()
        && !flag(schema, "nullable")
        && let Some(default) = schema.get("default")
    {
        *value = written(default);
    }
    apply(value, schema);
}

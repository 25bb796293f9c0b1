//! Filling in the defaults of a schema.

use serde_json::Value;

use super::node::flag;

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
                    object.insert(name.clone(), default.clone());
                }
                if let Some(inner) = object.get_mut(name) {
                    apply(inner, property);
                }
            }
            if let Some(values) = schema.get("additionalProperties").filter(|values| values.is_object()) {
                let named = |name: &str| properties.is_some_and(|properties| properties.contains_key(name));
                for (_, inner) in object.iter_mut().filter(|(name, _)| !named(name)) {
                    if inner.is_null()
                        && !flag(values, "nullable")
                        && let Some(default) = values.get("default")
                    {
                        *inner = default.clone();
                    }
                    apply(inner, values);
                }
            }
        }
        Value::Array(items) => {
            let Some(schema) = schema.get("items").filter(|items| items.is_object()) else { return };
            items.iter_mut().for_each(|item| apply(item, schema));
        }
        _ => {}
    }
}

/// Takes out nothings where the schema knows neither nothing nor a default; elements of lists stay.
pub(super) fn drop_nulls(value: &mut Value, schema: &Value) {
    match value {
        Value::Object(object) => {
            let properties = schema.get("properties").and_then(Value::as_object);
            let values = schema.get("additionalProperties").filter(|values| values.is_object());
            object.retain(|name, field| {
                let named = properties.and_then(|properties| properties.get(name));
                let Some(schema) = named.or(values) else { return true };
                if field.is_null() {
                    return flag(schema, "nullable") || schema.get("default").is_some_and(|default| !default.is_null());
                }
                drop_nulls(field, schema);
                true
            });
        }
        Value::Array(items) => {
            let Some(schema) = schema.get("items").filter(|items| items.is_object()) else { return };
            items.iter_mut().for_each(|item| drop_nulls(item, schema));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_is_left_out_where_it_means_nothing() {
        let schema = json!({"properties": {
            "plain": {"type": "string"},
            "nullable": {"type": "string", "nullable": true},
            "default": {"type": "string", "default": "x"},
            "list": {"type": "array", "items": {"type": "object", "properties": {"plain": {"type": "string"}}}},
            "map": {"type": "object", "additionalProperties": {"type": "integer"}},
        }});
        let mut value = json!({"plain": null, "nullable": null, "default": null, "unknown": null,
            "list": [null, {"plain": null}], "map": {"a": null, "b": 1}});
        drop_nulls(&mut value, &schema);
        let kept = json!({"nullable": null, "default": null, "unknown": null, "list": [null, {}], "map": {"b": 1}});
        assert_eq!(value, kept);
    }
}

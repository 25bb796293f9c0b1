//! Filling in the defaults of a schema, and taking out what is null where nothing may be.

use serde_json::Value;

use super::node::flag;

/// Adds what is absent and has a default, at every depth; a null where none is allowed is the same as nothing.
pub(super) fn apply(value: &mut Value, schema: &Value) {
    match value {
        Value::Object(object) => {
            let properties = schema.get("properties").and_then(Value::as_object);
            let values = schema.get("additionalProperties").filter(|values| values.is_object());
            let place = |name: &str| properties.and_then(|properties| properties.get(name)).or(values);
            object.retain(|name, value| !(value.is_null() && place(name).is_some_and(wants_value)));
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
            if let Some(values) = values {
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

/// Whether a null does not stand here, and nothing would take its place.
fn wants_value(schema: &Value) -> bool {
    !flag(schema, "nullable") && schema.get("default").is_none_or(Value::is_null)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nulls_go_where_none_are_allowed_and_nothing_takes_their_place() {
        let text = json!({"type": "string"});
        let schema = json!({"properties": {
            "plain": text, "nullable": {"type": "string", "nullable": true}, "default": {"type": "string", "default": "d"},
            "map": {"type": "object", "additionalProperties": text}, "open": {"type": "object"},
            "list": {"type": "array", "items": {"properties": {"plain": text}}},
        }});
        let mut object = json!({"plain": null, "nullable": null, "default": null, "map": {"a": null, "b": "c"},
            "open": {"a": null}, "list": [null, {"plain": null}], "unknown": null});
        apply(&mut object, &schema);
        assert_eq!(
            object,
            json!({"nullable": null, "default": "d", "map": {"b": "c"}, "open": {"a": null}, "list": [null, {}], "unknown": null})
        );
    }
}

//! What objects within objects must be besides what their schema says.

use serde_json::{Map, Value};

use super::kind::children;
use super::node::{EMBEDDED, flag};
use crate::meta::dns1035_label;
use crate::status::{FieldErrors, Path};
use crate::validate;

/// Whether a schema names a place of a whole object, at any depth.
pub(super) fn is_named(schema: &Value) -> bool {
    let mut named = flag(schema, EMBEDDED);
    children(schema, &mut |child| named |= is_named(child));
    named
}

/// Judges every object within a value, however much of it is as it was.
pub(super) fn walk(value: &Value, schema: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    match value {
        Value::Object(object) => {
            if flag(schema, EMBEDDED) {
                judge(object, path, errors);
            }
            let values = schema.get("additionalProperties").filter(|values| values.is_object());
            for (name, inner) in object {
                match (schema.get("properties").and_then(|properties| properties.get(name)), values) {
                    (Some(property), _) => walk(inner, property, &path.child(name), errors),
                    (None, Some(values)) => walk(inner, values, &path.key(name), errors),
                    (None, None) => {}
                }
            }
        }
        Value::Array(items) => {
            let Some(schema) = schema.get("items").filter(|items| items.is_object()) else { return };
            for (index, item) in items.iter().enumerate() {
                walk(item, schema, &path.index(index), errors);
            }
        }
        _ => {}
    }
}

/// Judges version, kind and metadata.
fn judge(object: &Map<String, Value>, path: &Path<'_>, errors: &mut FieldErrors) {
    for name in ["apiVersion", "kind"] {
        let place = path.child(name);
        match object.get(name) {
            None => errors.required(&place, ""),
            Some(Value::String(text)) if text.is_empty() => errors.invalid(&place, "", "must not be empty"),
            Some(Value::String(text)) => identity(name, text, &place, errors),
            Some(other) => errors.invalid(&place, other.clone(), "must be a string"),
        }
    }
    if let Some(metadata) = object.get("metadata") {
        validate::embedded_metadata(metadata, &path.child("metadata"), errors);
    }
}

/// The version or the kind of an object within an object.
fn identity(name: &str, text: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    if name == "apiVersion" {
        if text.matches('/').count() > 1 {
            errors.invalid(path, text, format!("unexpected GroupVersion string: {text}"));
        }
        return;
    }
    let broken = dns1035_label(&text.to_lowercase());
    if !broken.is_empty() {
        let why = format!("may have mixed case, but should otherwise match: {}", broken.join(","));
        errors.invalid(path, text, why);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn places_of_whole_objects_are_found_at_any_depth() {
        let place = json!({"type": "object", "x-kubernetes-embedded-resource": true});
        let listed = json!({"properties": {"a": {"type": "array", "items": place}}});
        let mapped = json!({"properties": {"a": {"properties": {"b": {"additionalProperties": place}}}}});
        for schema in [place, listed, mapped] {
            assert!(is_named(&schema), "{schema}");
        }
        let named_alike = json!({"properties": {"x-kubernetes-embedded-resource": {"type": "boolean"}}});
        for schema in [json!({"properties": {"a": {"x-kubernetes-embedded-resource": false}}}), named_alike] {
            assert!(!is_named(&schema), "{schema}");
        }
    }
}

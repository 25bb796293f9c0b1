//! What the store makes of an object.

use serde_json::Value;

use crate::schema::{Schema, Shape};

/// Types that kube-apiserver keeps as JSON: their lists stay as they are.
const KEPT_AS_JSON: &[&str] = &["apiextensions/", "apiregistration/"];

/// Turns empty lists and maps of fields that are always written into nulls, in place: kube-apiserver (v1.36) keeps built-in kinds in
/// protobuf, which does not tell empty from absent.
pub fn as_kept(object: &mut Value, schema: &Schema) {
    if schema.is_fixed() && !KEPT_AS_JSON.iter().any(|own| schema.type_name().starts_with(own)) {
        value(object, schema);
    }
}

fn value(held: &mut Value, schema: &Schema) {
    match (held, schema.shape()) {
        (Value::Object(fields), Shape::Object) => {
            for (name, entry) in fields.iter_mut() {
                match schema.field(name) {
                    Some(field) if field.is_written() && is_empty(entry, &field) => *entry = Value::Null,
                    Some(field) => value(entry, &field),
                    None => {}
                }
            }
        }
        (Value::Object(entries), Shape::Map) => {
            let item = schema.item();
            entries.values_mut().for_each(|entry| value(entry, &item));
        }
        (Value::Array(items), Shape::List) => {
            let item = schema.item();
            items.iter_mut().for_each(|entry| value(entry, &item));
        }
        _ => {}
    }
}

fn is_empty(value: &Value, field: &Schema) -> bool {
    match (value, field.shape()) {
        (Value::Array(items), Shape::List) => items.is_empty(),
        (Value::Object(entries), Shape::Map) => entries.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kept(name: &str, mut object: Value) -> Value {
        as_kept(&mut object, &Schema::named(name).unwrap());
        object
    }

    #[test]
    fn empty_lists_that_are_always_written_are_kept_as_nulls() {
        let slice = json!({"addressType": "IPv4", "endpoints": [], "ports": []});
        let want = json!({"addressType": "IPv4", "endpoints": null, "ports": null});
        assert_eq!(kept("discovery/v1.EndpointSlice", slice), want);
        let role = json!({"rules": [{"verbs": [], "apiGroups": ["a"]}], "metadata": {"labels": {}}});
        let want = json!({"rules": [{"verbs": null, "apiGroups": ["a"]}], "metadata": {"labels": {}}});
        assert_eq!(kept("rbac/v1.ClusterRole", role), want);
        let pod =
            json!({"spec": {"volumes": [{"name": "a", "projected": {"sources": []}}], "nodeSelector": {"a": ""}}});
        let mut want = pod.clone();
        want["spec"]["volumes"][0]["projected"]["sources"] = Value::Null;
        assert_eq!(kept("core/v1.Pod", pod), want);
    }

    #[test]
    fn lists_of_definitions_stay_as_they_are() {
        let definition = json!({"status": {"conditions": [], "storedVersions": []}});
        assert_eq!(kept("apiextensions/v1.CustomResourceDefinition", definition.clone()), definition);
    }
}

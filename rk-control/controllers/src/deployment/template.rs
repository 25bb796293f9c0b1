//! Comparing pod templates.

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;
use std::cmp::Ordering;

/// Label that tells the pods of one ReplicaSet from those of another.
pub(crate) const HASH_LABEL: &str = "pod-template-hash";

/// Maps where empty and absent mean the same.
const PLAIN_MAPS: [&str; 5] = ["annotations", "labels", "nodeSelector", "limits", "requests"];

/// Whether a ReplicaSet was made from this template; the hash label does not count.
pub(super) fn equal(set: &ReplicaSet, template: &PodTemplateSpec) -> bool {
    set.spec.as_ref().and_then(|s| s.template.as_ref()).is_some_and(|own| normal(own) == normal(template))
}

fn normal(template: &PodTemplateSpec) -> Value {
    let mut value = serde_json::to_value(template).unwrap_or_default();
    if let Some(labels) = value.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove(HASH_LABEL);
    }
    prune(&mut value);
    value
}

/// Drops nulls, empty lists and empty plain maps: the API treats them as absent.
fn prune(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(prune);
            fields.retain(|name, field| match field {
                Value::Null => false,
                Value::Array(items) => !items.is_empty(),
                Value::Object(map) => !map.is_empty() || !(PLAIN_MAPS.contains(&name.as_str()) || name == "metadata"),
                _ => true,
            });
        }
        Value::Array(items) => items.iter_mut().for_each(prune),
        _ => {}
    }
}

/// Oldest first, then by name.
pub(super) fn age_order(a: &ObjectMeta, b: &ObjectMeta) -> Ordering {
    let created = |m: &ObjectMeta| m.creation_timestamp.as_ref().map(|t| t.0);
    created(a).cmp(&created(b)).then_with(|| a.name.cmp(&b.name))
}

pub(super) fn replicas(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_hash_label_and_empty_fields_do_not_make_a_new_revision() {
        let template = |extra: Value, image: &str| -> PodTemplateSpec {
            let mut value = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}});
            json_patch::merge(&mut value, &extra);
            serde_json::from_value(value).expect("valid")
        };
        let set: ReplicaSet = serde_json::from_value(json!({"spec": {"selector": {}, "template": template(json!({"metadata": {"labels": {HASH_LABEL: "x"}}}), "a")}})).expect("valid");
        assert!(equal(&set, &template(json!({}), "a")));
        assert!(equal(&set, &template(json!({"metadata": {"annotations": {}}, "spec": {"tolerations": []}}), "a")));
        assert!(!equal(&set, &template(json!({}), "b")));
        assert!(!equal(&set, &template(json!({"spec": {"securityContext": {}}}), "a")));
    }
}

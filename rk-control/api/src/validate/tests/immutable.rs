//! What may change of an object, and what is for ever.

use serde_json::json;

use super::{merge, prepared, resource, sample};
use crate::resources::Registry;
use crate::strategy;

#[test]
fn what_is_for_ever_does_not_change() {
    let registry = Registry::builtin();
    for (plural, change, want) in [
        (
            "pods",
            json!({"spec": {"nodeName": "other"}}),
            "spec: Forbidden: pod updates may not change fields other than",
        ),
        (
            "deployments",
            json!({"spec": {"selector": {"matchLabels": {"app": "b"}}, "template": {"metadata": {"labels": {"app": "b"}}}}}),
            "spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"b\"}}: field is immutable",
        ),
        (
            "services",
            json!({"spec": {"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"]}}),
            "spec.clusterIPs[0]: Invalid value: [\"10.96.0.9\"]: may not change once set",
        ),
        (
            "secrets",
            json!({"type": "kubernetes.io/other"}),
            "type: Invalid value: \"kubernetes.io/other\": field is immutable",
        ),
        ("configmaps", json!({"data": {"k": "w"}}), "data: Forbidden: field is immutable when `immutable` is set"),
        (
            "statefulsets",
            json!({"spec": {"serviceName": "x"}}),
            "spec: Forbidden: updates to statefulset spec for fields other than",
        ),
        ("jobs", json!({"spec": {"completions": 5}}), "spec.completions: Invalid value: 5: field is immutable"),
        (
            "rolebindings",
            json!({"roleRef": {"name": "other"}}),
            "\"Kind\":\"Role\",\"Name\":\"other\"}: cannot change roleRef",
        ),
        (
            "storageclasses",
            json!({"provisioner": "example.com/y"}),
            "provisioner: Invalid value: \"example.com/y\": field is immutable",
        ),
        ("priorityclasses", json!({"value": 5}), "value: Forbidden: may not be changed in an update."),
        (
            "persistentvolumeclaims",
            json!({"spec": {"accessModes": ["ReadOnlyMany"]}}),
            "spec: Forbidden: spec is immutable after creation",
        ),
        ("pods", json!({"metadata": {"name": "b"}}), "metadata.name: Invalid value: \"b\": field is immutable"),
    ] {
        let resource = resource(&registry, plural);
        let mut old = prepared(&resource, sample(plural));
        match plural {
            "services" => {
                old["spec"]["clusterIP"] = json!("10.96.0.1");
                old["spec"]["clusterIPs"] = json!(["10.96.0.1"]);
            }
            "configmaps" => old["immutable"] = json!(true),
            _ => {}
        }
        let mut new = old.clone();
        merge(&mut new, &change);
        strategy::prepare_for_update(&resource, None, &mut new, &old);
        let errors: Vec<String> =
            strategy::validate_update(&resource, None, &new, &old).0.iter().map(ToString::to_string).collect();
        assert!(errors.iter().any(|e| e.contains(want)), "{plural} {change}: {errors:#?}");
    }
}

#[test]
fn a_pod_may_change_its_images_and_gain_tolerations() {
    let registry = Registry::builtin();
    let pods = resource(&registry, "pods");
    let old = prepared(&pods, sample("pods"));
    let mut new = old.clone();
    new["spec"]["containers"][0]["image"] = json!("nginx:2");
    new["spec"]["tolerations"] = json!([{"key": "a", "operator": "Exists"}]);
    strategy::prepare_for_update(&pods, None, &mut new, &old);
    assert_eq!(strategy::validate_update(&pods, None, &new, &old).0, []);
    assert_eq!(new["metadata"]["generation"], 2);
}

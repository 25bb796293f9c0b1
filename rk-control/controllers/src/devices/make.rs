//! Claims that are made for pods.

use super::claim::ENTRY;
use k8s_openapi::api::core::v1::{Pod, PodResourceClaim};
use k8s_openapi::api::resource::v1::{ResourceClaim, ResourceClaimSpec, ResourceClaimTemplate};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use rk_client::controller_ref;

/// Longest prefix to which the server can add a hyphen and five characters, for a name of 63.
const PREFIX_MAX: usize = 57;

/// The claim that an entry of a pod asks for.
pub(super) fn claim(pod: &Pod, entry: &PodResourceClaim, template: &ResourceClaimTemplate) -> ResourceClaim {
    let given = template.spec.metadata.clone().unwrap_or_default();
    let mut annotations = given.annotations.unwrap_or_default();
    annotations.insert(ENTRY.to_owned(), entry.name.clone());
    ResourceClaim {
        metadata: ObjectMeta {
            generate_name: Some(prefix(pod.metadata.name.as_deref().unwrap_or_default(), &entry.name)),
            namespace: pod.metadata.namespace.clone(),
            labels: given.labels,
            annotations: Some(annotations),
            owner_references: Some(vec![controller_ref(pod)]),
            ..ObjectMeta::default()
        },
        spec: template.spec.spec.clone(),
        status: None,
    }
}

/// What names of claims begin with. Of names that are too long together, each loses a part in proportion, so that both are seen.
fn prefix(pod: &str, entry: &str) -> String {
    let whole = format!("{pod}-{entry}-");
    if whole.len() <= PREFIX_MAX {
        return whole;
    }
    let part = |name: &str| name.chars().take(name.len() * PREFIX_MAX / whole.len()).collect::<String>();
    format!("{}-{}", part(pod), part(entry))
}

/// Whether a claim asks for devices that others use.
pub(super) fn has_admin_access(spec: &ResourceClaimSpec) -> bool {
    let requests = spec.devices.iter().flat_map(|devices| devices.requests.iter().flatten());
    requests.filter_map(|request| request.exactly.as_ref()).any(|exact| exact.admin_access == Some(true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_claim_has_what_its_template_gives_and_belongs_to_its_pod() {
        let pod: Pod =
            serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"}})).expect("a pod");
        let entry = PodResourceClaim { name: "gpu".to_owned(), ..PodResourceClaim::default() };
        let devices = |admin: bool| {
            json!({"requests": [
                {"name": "r", "firstAvailable": [{"name": "s", "deviceClassName": "d"}]},
                {"name": "q", "exactly": {"deviceClassName": "d", "adminAccess": admin}},
            ]})
        };
        let template: ResourceClaimTemplate = serde_json::from_value(json!({
            "metadata": {"name": "t", "labels": {"of": "template"}},
            "spec": {"metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}}, "spec": {"devices": devices(true)}},
        }))
        .expect("a template");
        let made = serde_json::to_value(claim(&pod, &entry, &template)).expect("serializes");
        assert_eq!(
            made["metadata"],
            json!({
                "generateName": "p-gpu-", "namespace": "n", "labels": {"a": "b"},
                "annotations": {"c": "d", "resource.kubernetes.io/pod-claim-name": "gpu"},
                "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": true,
                    "blockOwnerDeletion": true}],
            })
        );
        assert_eq!(made["spec"]["devices"], devices(true));
        assert!(has_admin_access(&template.spec.spec));
        let other: ResourceClaimSpec = serde_json::from_value(json!({"devices": devices(false)})).expect("a spec");
        assert!(!has_admin_access(&other) && !has_admin_access(&ResourceClaimSpec::default()));
    }

    #[test]
    fn long_names_lose_parts_in_proportion() {
        assert_eq!(prefix(&"p".repeat(30), &"c".repeat(25)).len(), 57);
        // 40 * 57 / 62 and 20 * 57 / 62 characters are left.
        let short = prefix(&"p".repeat(40), &"c".repeat(20));
        assert_eq!(short, format!("{}-{}", "p".repeat(36), "c".repeat(18)));
        assert!(prefix(&"p".repeat(253), &"c".repeat(63)).len() <= 57);
    }
}

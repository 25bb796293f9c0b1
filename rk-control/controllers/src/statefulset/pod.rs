//! The pods and claims of a StatefulSet: their names are their identity.

use super::model::{ordinal_of, spec_of};
use crate::{history, pods};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use rk_client::controller_ref;
use std::collections::BTreeSet;

const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

pub(super) fn name(set: &StatefulSet, ordinal: i32) -> String {
    format!("{}-{ordinal}", set.metadata.name.as_deref().unwrap_or_default())
}

/// The pod of an ordinal, from a template.
pub(super) fn build(set: &StatefulSet, template: &PodTemplateSpec, revision: &str, ordinal: i32) -> Pod {
    let mut pod =
        pods::from_template(template, set.metadata.namespace.as_deref().unwrap_or_default(), "", controller_ref(set));
    pod.metadata.generate_name = None;
    pod.metadata.labels.get_or_insert_default().insert(history::HASH_LABEL.to_owned(), revision.to_owned());
    give_identity(set, &mut pod, ordinal);
    pod
}

/// Name, labels, host name and volumes that follow from the ordinal.
fn give_identity(set: &StatefulSet, pod: &mut Pod, ordinal: i32) {
    let name = name(set, ordinal);
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(POD_NAME.to_owned(), name.clone());
    labels.insert(POD_INDEX.to_owned(), ordinal.to_string());
    let spec = pod.spec.get_or_insert_default();
    spec.hostname = Some(name.clone());
    spec.subdomain = spec_of(set).service_name.filter(|s| !s.is_empty());
    let volumes = spec.volumes.get_or_insert_default();
    for claim in spec_of(set).volume_claim_templates.iter().flatten() {
        let template = claim.metadata.name.clone().unwrap_or_default();
        volumes.retain(|v| v.name != template);
        volumes.push(Volume {
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: format!("{template}-{name}"),
                read_only: Some(false),
            }),
            name: template,
            ..Volume::default()
        });
    }
    pod.metadata.name = Some(name);
}

/// Whether a living pod still has its identity labels.
pub(super) fn has_identity(set: &StatefulSet, pod: &Pod, ordinal: i32) -> bool {
    pod.metadata.labels.as_ref().and_then(|l| l.get(POD_NAME)) == Some(&name(set, ordinal))
}

/// The labels that give it back.
pub(super) fn identity_labels(set: &StatefulSet, ordinal: i32) -> serde_json::Value {
    serde_json::json!({"metadata": {"labels": {POD_NAME: name(set, ordinal), POD_INDEX: ordinal.to_string()}}})
}

/// The claims of an ordinal.
pub(super) fn claims(set: &StatefulSet, ordinal: i32) -> Vec<PersistentVolumeClaim> {
    let spec = spec_of(set);
    let claim = |template: &PersistentVolumeClaim| {
        let mut claim = template.clone();
        claim.status = None;
        claim.metadata.name =
            Some(format!("{}-{}", template.metadata.name.as_deref().unwrap_or_default(), name(set, ordinal)));
        claim.metadata.namespace.clone_from(&set.metadata.namespace);
        claim.metadata.labels.get_or_insert_default().extend(spec.selector.match_labels.clone().unwrap_or_default());
        claim
    };
    spec.volume_claim_templates.iter().flatten().map(claim).collect()
}

/// Whether a claim of this name is one of the set's.
pub(super) fn has_claim(set: &StatefulSet, name: &str) -> bool {
    let templates = set.spec.iter().flat_map(|spec| spec.volume_claim_templates.iter().flatten());
    let pod = |template: &str| name.strip_prefix(template)?.strip_prefix('-');
    let set_name = set.metadata.name.as_deref().unwrap_or_default();
    let mut pods = templates.filter_map(|template| pod(template.metadata.name.as_deref()?));
    pods.any(|pod| ordinal_of(set_name, pod).is_some())
}

/// Whether a new pod of this name has to wait for the claim to go: it is being deleted, or will be with the former pod that it was left to.
pub(super) fn is_leaving(set: &StatefulSet, claim: &PersistentVolumeClaim, pod: &str) -> bool {
    let policy = spec_of(set).persistent_volume_claim_retention_policy.unwrap_or_default();
    let mut owners = claim.metadata.owner_references.iter().flatten();
    claim.metadata.deletion_timestamp.is_some()
        || (policy.when_scaled.as_deref() == Some("Delete")
            && owners.any(|owner| owner.kind == "Pod" && owner.name == pod))
}

/// The owners of a claim with those that are `wanted` of the set and the pod; `None` where they stay. A claim of a former set or pod of
/// these names is not touched, and one that another controls gets no owner of ours; what owns it of ours controls it
/// (`pkg/controller/statefulset/stateful_set_utils.go`).
pub(super) fn owners_after(
    before: &[OwnerReference],
    (set, pod): (&ObjectMeta, &ObjectMeta),
    wanted: &[OwnerReference],
) -> Option<Vec<OwnerReference>> {
    let is_ours = |owner: &OwnerReference| [&set.uid, &pod.uid].contains(&&Some(owner.uid.clone()));
    let (ours, mut after): (Vec<_>, Vec<_>) = before.iter().cloned().partition(is_ours);
    let is_former = |owner: &OwnerReference| {
        [("StatefulSet", set), ("Pod", pod)]
            .iter()
            .any(|(kind, of)| owner.kind == *kind && of.name.as_ref() == Some(&owner.name))
    };
    if after.iter().any(is_former) {
        return None;
    }
    let wanted: &[OwnerReference] = if after.iter().any(|owner| owner.controller == Some(true)) { &[] } else { wanted };
    let uids = |owners: &[OwnerReference]| owners.iter().map(|owner| owner.uid.clone()).collect::<BTreeSet<_>>();
    let differs = uids(&ours) != uids(wanted) || ours.iter().any(|owner| owner.controller != Some(true));
    after.extend_from_slice(wanted);
    differs.then_some(after)
}

/// Who takes a claim along when it goes (KEP-1847): the set when that is deleted, the pod when the set shrinks.
pub(super) fn claim_owners(set: &StatefulSet, pod: Option<&Pod>, condemned: bool) -> Vec<OwnerReference> {
    let policy = spec_of(set).persistent_volume_claim_retention_policy.unwrap_or_default();
    let deletes = |value: Option<&str>| value == Some("Delete");
    let mut owners = Vec::new();
    if deletes(policy.when_deleted.as_deref()) && !(condemned && deletes(policy.when_scaled.as_deref())) {
        owners.push(controller_ref(set));
    }
    if condemned && deletes(policy.when_scaled.as_deref()) {
        owners.extend(pod.map(controller_ref));
    }
    owners
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn set() -> StatefulSet {
        let claims = json!([{"metadata": {"name": "data"}}]);
        let policy = json!({"whenScaled": "Delete"});
        serde_json::from_value(
            json!({"metadata": {"name": "web", "uid": "set"}, "spec": {"selector": {}, "template": {},
            "volumeClaimTemplates": claims, "persistentVolumeClaimRetentionPolicy": policy}}),
        )
        .expect("valid")
    }

    fn owner(kind: &str, name: &str, uid: &str) -> Value {
        json!({"apiVersion": "v1", "kind": kind, "name": name, "uid": uid})
    }

    fn controller(kind: &str, name: &str, uid: &str) -> Value {
        let mut owner = owner(kind, name, uid);
        owner["controller"] = json!(true);
        owner
    }

    fn owners(list: Value) -> Vec<OwnerReference> {
        serde_json::from_value(list).expect("valid")
    }

    #[test]
    fn claims_are_known_by_their_names() {
        let cases = [("data-web-0", true), ("data-web-x", false), ("data-web", false), ("logs-web-0", false)];
        for (name, expected) in cases {
            assert_eq!(has_claim(&set(), name), expected, "{name}");
        }
    }

    #[test]
    fn a_new_pod_does_not_take_the_claim_that_goes_with_the_former_one() {
        let claim = |metadata: Value| -> PersistentVolumeClaim {
            serde_json::from_value(json!({"metadata": metadata})).expect("valid")
        };
        let left = json!({"ownerReferences": [owner("Pod", "web-1", "former")]});
        let deleted = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
        let kept = json!({"ownerReferences": [owner("StatefulSet", "web", "set"), owner("Pod", "web-10", "other")]});
        for (metadata, expected) in [(json!({}), false), (left.clone(), true), (deleted, true), (kept, false)] {
            assert_eq!(is_leaving(&set(), &claim(metadata.clone()), "web-1"), expected, "{metadata}");
        }
        let mut retained = set();
        retained.spec.as_mut().expect("a spec").persistent_volume_claim_retention_policy = None;
        assert!(!is_leaving(&retained, &claim(left), "web-1"));
    }

    #[test]
    fn owners_of_claims_change_unless_they_are_of_others() {
        let pod = ObjectMeta { name: Some("web-1".to_owned()), uid: Some("pod".to_owned()), ..ObjectMeta::default() };
        let (own_set, own_pod) = (controller("StatefulSet", "web", "set"), controller("Pod", "web-1", "pod"));
        let (plain, foreign) = (owner("Backup", "b", "b"), controller("Backup", "b", "b"));
        for (before, after) in [
            (json!([]), Some(json!([own_pod]))),
            (json!([own_set]), Some(json!([own_pod]))),
            (json!([own_pod]), None),
            (json!([owner("Pod", "web-1", "pod")]), Some(json!([own_pod]))),
            (json!([plain]), Some(json!([plain, own_pod]))),
            (json!([foreign]), None),
            (json!([own_set, foreign]), Some(json!([foreign]))),
            (json!([owner("Pod", "web-1", "former")]), None),
            (json!([owner("StatefulSet", "web", "former")]), None),
        ] {
            let wanted = owners(json!([own_pod]));
            let seen = owners_after(&owners(before.clone()), (&set().metadata, &pod), &wanted);
            assert_eq!(seen, after.map(owners), "{before}");
        }
    }

    #[test]
    fn who_takes_a_claim_along_controls_it() {
        let pod = Pod {
            metadata: serde_json::from_value(json!({"name": "web-1", "uid": "pod"})).expect("valid"),
            ..Pod::default()
        };
        let with = |deleted: &str, scaled: &str| {
            let mut set = set();
            let policy = json!({"whenDeleted": deleted, "whenScaled": scaled});
            set.spec.as_mut().expect("a spec").persistent_volume_claim_retention_policy =
                serde_json::from_value(policy).expect("valid");
            set
        };
        for (deleted, scaled, condemned, expected) in [
            ("Retain", "Retain", true, None),
            ("Retain", "Delete", false, None),
            ("Retain", "Delete", true, Some("pod")),
            ("Delete", "Retain", true, Some("set")),
            ("Delete", "Delete", false, Some("set")),
            ("Delete", "Delete", true, Some("pod")),
        ] {
            let owners = claim_owners(&with(deleted, scaled), Some(&pod), condemned);
            let told: Vec<_> = owners.iter().map(|o| (o.uid.as_str(), o.controller, o.block_owner_deletion)).collect();
            let expected: Vec<_> = expected.into_iter().map(|uid| (uid, Some(true), Some(true))).collect();
            assert_eq!(told, expected, "{deleted} {scaled} {condemned}");
        }
    }
}

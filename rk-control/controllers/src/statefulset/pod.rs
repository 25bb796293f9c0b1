//! The pods and claims of a StatefulSet: their names are their identity.

use super::model::spec_of;
use crate::{history, pods};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use rk_client::{Object, controller_ref};

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

/// Who takes a claim along when it goes (KEP-1847): the set when that is deleted, the pod when the set shrinks.
pub(super) fn claim_owners(set: &StatefulSet, pod: Option<&Pod>, condemned: bool) -> Vec<OwnerReference> {
    let policy = spec_of(set).persistent_volume_claim_retention_policy.unwrap_or_default();
    let deletes = |value: Option<&str>| value == Some("Delete");
    let plain =
        |reference: OwnerReference| OwnerReference { controller: None, block_owner_deletion: None, ..reference };
    let mut owners = Vec::new();
    if deletes(policy.when_deleted.as_deref()) && !(condemned && deletes(policy.when_scaled.as_deref())) {
        owners.push(plain(controller_ref(set)));
    }
    if condemned && deletes(policy.when_scaled.as_deref()) {
        owners.extend(pod.map(|p| plain(reference_to(p))));
    }
    owners
}

fn reference_to<K: Object>(object: &K) -> OwnerReference {
    controller_ref(object)
}

//! What pods and claims of devices say of each other.

use crate::pods;
use k8s_openapi::api::core::v1::{Pod, PodResourceClaim, PodResourceClaimStatus};
use k8s_openapi::api::resource::v1::{ResourceClaim, ResourceClaimConsumerReference};
use rk_client::{Informer, ObjectKey, is_controlled_by};

/// Name of the index of pods by the keys of the claims that they name.
pub(super) const BY_CLAIM: &str = "resource-claim";
/// Says of a claim for which entry of its pod it was made.
pub(super) const ENTRY: &str = "resource.kubernetes.io/pod-claim-name";

/// Which claim an entry of a pod's `spec.resourceClaims` stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named<'a> {
    /// One that somebody made; several pods may name it.
    Given(&'a str),
    /// One that was made for the pod.
    Made(&'a str),
    /// One that is to be made, or that was made and is not told of yet.
    NotYet,
    /// None is needed.
    Unneeded,
}

impl<'a> Named<'a> {
    /// The name of a claim, and whether that was made for the pod.
    pub(super) fn claim(self) -> Option<(&'a str, bool)> {
        match self {
            Named::Given("") | Named::Made("") | Named::NotYet | Named::Unneeded => None,
            Named::Given(name) => Some((name, false)),
            Named::Made(name) => Some((name, true)),
        }
    }
}

/// Keeps [`BY_CLAIM`].
pub(super) fn index_by_claim(pods: &Informer<Pod>) {
    pods.index(BY_CLAIM, |pod| keys(pod).map(|key| key.to_string()).collect());
}

pub(super) fn entries(pod: &Pod) -> impl Iterator<Item = &PodResourceClaim> {
    pod.spec.iter().flat_map(|spec| spec.resource_claims.iter().flatten())
}

fn told(pod: &Pod) -> impl Iterator<Item = &PodResourceClaimStatus> {
    pod.status.iter().flat_map(|status| status.resource_claim_statuses.iter().flatten())
}

pub(super) fn named<'a>(pod: &'a Pod, entry: &'a PodResourceClaim) -> Named<'a> {
    if let Some(name) = &entry.resource_claim_name {
        return Named::Given(name);
    }
    match told(pod).find(|told| told.name == entry.name) {
        None => Named::NotYet,
        Some(told) => told.resource_claim_name.as_deref().map_or(Named::Unneeded, Named::Made),
    }
}

/// The claim of this name beside the pod.
pub(super) fn beside(pod: &Pod, name: &str) -> ObjectKey {
    ObjectKey::new(pod.metadata.namespace.clone().unwrap_or_default(), name)
}

/// The claims that a pod names, that of its extended resources among them.
pub(super) fn keys(pod: &Pod) -> impl Iterator<Item = ObjectKey> {
    let extended = pod.status.as_ref().and_then(|status| status.extended_resource_claim_status.as_ref());
    let extended = extended.map(|told| told.resource_claim_name.as_str()).filter(|name| !name.is_empty());
    let named = entries(pod).filter_map(move |entry| named(pod, entry).claim().map(|(name, _)| name));
    named.chain(extended).map(move |name| beside(pod, name))
}

/// What the pod's status is to tell of its claims once these were made, by the names of their entries. All of it: who applies a
/// part of what it applied before gives up the rest.
pub(super) fn statuses(pod: &Pod, made: &[(String, String)]) -> Vec<PodResourceClaimStatus> {
    let status = |entry: &PodResourceClaim| {
        let new = made
            .iter()
            .find(|(of, _)| *of == entry.name)
            .map(|(of, claim)| PodResourceClaimStatus { name: of.clone(), resource_claim_name: Some(claim.clone()) });
        new.or_else(|| told(pod).find(|told| told.name == entry.name).cloned())
    };
    entries(pod).filter_map(status).collect()
}

/// Whether the claim was made for this very pod.
pub(super) fn is_for(pod: &Pod, claim: &ResourceClaim) -> bool {
    is_controlled_by(&claim.metadata, pod.metadata.uid.as_deref().unwrap_or_default())
}

/// Whether the claim was made for this entry of the pod that owns it.
pub(super) fn is_of_entry(claim: &ResourceClaim, entry: &str) -> bool {
    claim.metadata.annotations.as_ref().and_then(|notes| notes.get(ENTRY)).is_some_and(|own| own == entry)
}

/// For whom the claim is reserved.
pub(super) fn users(claim: &ResourceClaim) -> impl Iterator<Item = &ResourceClaimConsumerReference> {
    claim.status.iter().flat_map(|status| status.reserved_for.iter().flatten())
}

/// Whether a user of a claim is a pod.
pub(super) fn is_pod(user: &ResourceClaimConsumerReference) -> bool {
    user.api_group.as_deref().unwrap_or_default().is_empty() && user.resource == "pods"
}

pub(super) fn is_reserved_for(claim: &ResourceClaim, pod: &Pod) -> bool {
    users(claim).any(|user| is_pod(user) && Some(&user.uid) == pod.metadata.uid.as_ref())
}

pub(super) fn is_allocated(claim: &ResourceClaim) -> bool {
    claim.status.as_ref().is_some_and(|status| status.allocation.is_some())
}

/// Whether nothing runs in the pod any more, and nothing will. One that ends on its node may still use its devices.
pub(super) fn is_done(pod: &Pod) -> bool {
    pods::is_finished(pod) || (pods::is_terminating(pod) && pods::node_name(pod).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u"},
            "spec": {"containers": [], "resourceClaims": [
                {"name": "given", "resourceClaimName": "shared"},
                {"name": "made", "resourceClaimTemplateName": "t"},
                {"name": "none", "resourceClaimTemplateName": "t"},
                {"name": "new", "resourceClaimTemplateName": "t"},
            ]},
            "status": {
                "resourceClaimStatuses": [{"name": "made", "resourceClaimName": "p-made-x"}, {"name": "none"}],
                "extendedResourceClaimStatus": {"requestMappings": [], "resourceClaimName": "p-extended-resources-x"},
            },
        }))
        .expect("a pod")
    }

    #[test]
    fn an_entry_names_what_its_author_or_the_status_of_the_pod_says() {
        let pod = pod();
        let all: Vec<_> = entries(&pod).map(|entry| named(&pod, entry)).collect();
        assert_eq!(all, [Named::Given("shared"), Named::Made("p-made-x"), Named::Unneeded, Named::NotYet]);
        let keys: Vec<_> = keys(&pod).map(|key| key.to_string()).collect();
        assert_eq!(keys, ["n/shared", "n/p-made-x", "n/p-extended-resources-x"]);
    }

    #[test]
    fn a_status_that_tells_of_a_new_claim_goes_on_telling_of_the_others() {
        let told = statuses(&pod(), &[("new".to_owned(), "p-new-x".to_owned())]);
        let told: Vec<_> = told.iter().map(|s| (s.name.as_str(), s.resource_claim_name.as_deref())).collect();
        assert_eq!(told, [("made", Some("p-made-x")), ("none", None), ("new", Some("p-new-x"))]);
        let again = statuses(&pod(), &[("made".to_owned(), "other".to_owned())]);
        assert_eq!(again.first().and_then(|s| s.resource_claim_name.as_deref()), Some("other"));
    }

    #[test]
    fn a_pod_is_done_when_nothing_of_it_can_run() {
        let pod = |node: Option<&str>, phase: &str, ends: bool| -> Pod {
            let time = ends.then_some("2026-01-01T00:00:00Z");
            let pod = json!({"metadata": {"deletionTimestamp": time}, "status": {"phase": phase},
                "spec": {"containers": [], "nodeName": node}});
            serde_json::from_value(pod).expect("a pod")
        };
        for (node, phase, ends, done) in [
            (None, "Pending", false, false),
            (None, "Pending", true, true),
            (Some("n"), "Running", false, false),
            (Some("n"), "Running", true, false),
            (Some("n"), "Succeeded", false, true),
            (Some("n"), "Failed", true, true),
        ] {
            assert_eq!(is_done(&pod(node, phase, ends)), done, "{node:?} {phase} {ends}");
        }
    }
}

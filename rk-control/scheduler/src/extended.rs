//! The life of a claim that stands for what its pod asks for by the names of extended resources (KEP-5004): made when the pod is bound, and
//! gone when that comes to nothing.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodExtendedResourceClaimStatus};
use k8s_openapi::api::resource::v1::ResourceClaim;
use kube::api::Patch;
use rk_api::meta::DEVICES_FINALIZER;
use rk_client::{Deletion, Informer, ObjectKey, Verbs as _, is_not_found, on_conflict};
use serde_json::{Value, json};

use crate::bind::{BindError, Binder};
use crate::devices::{Allocation, Special, owner_of_special};
use crate::model::PodInfo;

/// Claims that the scheduler asked for, by what came of it.
const MADE: &str = "scheduler_resourceclaim_creates_total";

impl Binder {
    /// Makes the claim of a pod's extended resources, writes what it got, and tells the pod. Answers its key.
    pub(crate) async fn bind_special(
        &self,
        claims: &Informer<ResourceClaim>,
        special: &Special,
        pod: &PodInfo,
        allocations: &[Arc<Allocation>],
    ) -> Result<ObjectKey, BindError> {
        let decided = allocations.iter().find(|own| special.is_of(own));
        let Some(decided) = decided else {
            return Err(BindError::Devices(format!(
                "no devices were chosen for the extended resources of {}",
                pod.key
            )));
        };
        let made = claims.create(&special.to_make()).await;
        rk_client::count(MADE, &[("status", if made.is_ok() { "success" } else { "failure" })]);
        let made = made.map_err(|error| BindError::ExtendedResources(decided.claim.clone(), error))?;
        let key = ObjectKey::of(&made);
        let uid = made.metadata.uid.unwrap_or_default();
        self.shared.cluster().devices.rename(&decided.uid, &uid);
        let own = Allocation { claim: key.clone(), uid, result: decided.result.clone() };
        self.reserve(claims, &key, pod, Some(&own)).await?;
        let own = PodExtendedResourceClaimStatus {
            request_mappings: special.mappings.clone(),
            resource_claim_name: key.name.clone(),
        };
        let told = self.pods.patch_status(&pod.key, &Patch::Strategic(status(pod, Some(&own)))).await;
        told.map_err(|error| BindError::Untold(key.clone(), error))?;
        Ok(key)
    }

    /// Takes back what an earlier attempt told a pod: a quota would not know the next claim for the pod's own, and where it gets nothing by
    /// a claim its kubelet would wait for the former one and ask no plugin.
    pub(crate) async fn untell(&self, pod: &PodInfo) -> Result<(), BindError> {
        let Some(name) = self.pods.get(&pod.key).and_then(|current| told(&current).cloned()) else { return Ok(()) };
        let untold = self.pods.patch_status(&pod.key, &Patch::Strategic(status(pod, None))).await;
        untold.map_err(|error| BindError::Untold(ObjectKey::new(&pod.key.namespace, name), error))?;
        Ok(())
    }

    /// Deletes the claim that was made for a pod which was not bound, so that what it has is free at once.
    pub(crate) async fn discard_special(&self, pod: &PodInfo) {
        let claims = self.informers.of::<ResourceClaim>();
        let all = claims.in_namespace(&pod.key.namespace);
        let own = all.iter().filter(|claim| owner_of_special(claim) == Some(pod.uid.as_str()));
        let keys: Vec<ObjectKey> = own.map(|claim| ObjectKey::of(claim.as_ref())).collect();
        for key in keys {
            self.discard(pod, &key).await;
        }
    }

    /// Deletes a claim that was made for a pod's extended resources.
    pub(crate) async fn discard(&self, pod: &PodInfo, key: &ObjectKey) {
        let claims = self.informers.of::<ResourceClaim>();
        let Some(uid) = claims.get(key).map(|claim| claim.metadata.uid.clone()) else { return };
        let outcome = match on_conflict(|| self.release(&claims, key, uid.as_ref())).await {
            Ok(()) => claims.delete(key, &Deletion::of_uid(uid.as_ref())).await,
            Err(error) => Err(error),
        };
        if let Err(error) = outcome
            && !is_not_found(&error)
        {
            tracing::warn!(claim = %key, pod = %pod.key, %error, "a claim stays that was made for a pod which was not bound");
        }
    }

    /// Takes off a claim what keeps it while it has devices; a later one of its name stays as it is.
    async fn release(
        &self,
        claims: &Informer<ResourceClaim>,
        key: &ObjectKey,
        uid: Option<&String>,
    ) -> kube::Result<()> {
        let mut claim: ResourceClaim = self.client.get(key).await?;
        if claim.metadata.uid.as_ref() == uid && unprotect(&mut claim) {
            claims.replace(&claim).await?;
        }
        Ok(())
    }
}

/// Takes off what keeps a claim while it has devices. Answers whether it was there.
fn unprotect(claim: &mut ResourceClaim) -> bool {
    let Some(finalizers) = &mut claim.metadata.finalizers else { return false };
    let before = finalizers.len();
    finalizers.retain(|own| own != DEVICES_FINALIZER);
    finalizers.len() != before
}

/// The claim that a pod was told of.
fn told(pod: &Pod) -> Option<&String> {
    pod.status.as_ref()?.extended_resource_claim_status.as_ref().map(|told| &told.resource_claim_name)
}

/// What the pod is told: the claim and which of its requests each container uses, or that there is none.
fn status(pod: &PodInfo, told: Option<&PodExtendedResourceClaimStatus>) -> Value {
    json!({"metadata": {"uid": pod.uid}, "status": {"extendedResourceClaimStatus": told}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_kept_by_nothing_but_others_finalizers() {
        for (finalizers, was_kept, left) in [
            (json!(null), false, json!(null)),
            (json!(["other"]), false, json!(["other"])),
            (json!([DEVICES_FINALIZER, "other"]), true, json!(["other"])),
        ] {
            let claim = json!({"metadata": {"name": "c", "finalizers": finalizers}, "spec": {}});
            let mut claim: ResourceClaim = serde_json::from_value(claim).expect("a claim");
            assert_eq!(unprotect(&mut claim), was_kept);
            assert_eq!(json!(claim.metadata.finalizers), left);
        }
    }

    #[test]
    fn a_pod_is_told_of_its_claim_and_that_it_has_none_any_more() {
        let claim = json!({"resourceClaimName": "p-x", "requestMappings": []});
        for (claim, known) in [(claim, Some("p-x")), (Value::Null, None)] {
            let meta = json!({"namespace": "n", "name": "p", "uid": "u"});
            let pod =
                json!({"metadata": meta, "spec": {"containers": []}, "status": {"extendedResourceClaimStatus": claim}});
            let pod: Pod = serde_json::from_value(pod).expect("a pod");
            assert_eq!(told(&pod).map(String::as_str), known);
            let own = pod.status.as_ref().and_then(|status| status.extended_resource_claim_status.as_ref());
            let written = status(&PodInfo::new(&pod).expect("a pod to schedule"), own);
            assert_eq!(written, json!({"metadata": {"uid": "u"}, "status": {"extendedResourceClaimStatus": claim}}));
        }
    }
}

//! What the scheduler writes of claims of devices: what they got and who uses them, and that again taken back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::resource::v1::{AllocationResult, ResourceClaim, ResourceClaimConsumerReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::Patch;
use rk_api::meta::DEVICES_FINALIZER;
use rk_client::{EventType, Informer, ObjectKey, Verbs as _, on_conflict};
use serde_json::json;

use crate::bind::{BindError, Binder, reference};
use crate::decide::Placement;
use crate::devices::{Allocation, allocation, deallocated, has_conditions, is_idle, is_reserved_for, readiness};
use crate::model::PodInfo;
use crate::turn::Turn;

/// How long devices may take to become ready; upstream's default.
const READY_DEADLINE: Duration = Duration::from_secs(600);
/// How often devices that become ready are looked at.
const READY_POLL: Duration = Duration::from_millis(250);

impl Binder {
    /// Writes what the claims of a pod got and that it uses them, and waits until their devices are ready.
    pub(crate) async fn bind_device_claims(
        &self,
        pod: &PodInfo,
        placement: &Placement,
        turn: &mut Turn,
    ) -> Result<(), BindError> {
        if !pod.askers.is_empty() {
            self.untell(pod).await?;
        }
        if pod.device_claims.is_empty() && placement.special.is_none() {
            return Ok(());
        }
        let claims = self.informers.of::<ResourceClaim>();
        let mut keys = pod.device_claim_keys();
        for key in &keys {
            let own = placement.allocations.iter().find(|own| own.claim == *key);
            self.reserve(&claims, key, pod, own.map(Arc::as_ref)).await?;
        }
        if let Some(special) = &placement.special {
            keys.push(self.bind_special(&claims, special, pod, &placement.allocations).await?);
        }
        turn.lend(self.until_ready(&claims, &keys, pod, &placement.node)).await
    }

    /// Writes one claim; what others write meanwhile stays.
    pub(crate) async fn reserve(
        &self,
        claims: &Informer<ResourceClaim>,
        key: &ObjectKey,
        pod: &PodInfo,
        own: Option<&Allocation>,
    ) -> Result<(), BindError> {
        let mut cached = claims.get(key);
        let written = on_conflict(|| {
            // What is cached serves once: after a conflict it may still be what was written over.
            let cached = cached.take();
            async move {
                let claim = match cached {
                    Some(cached) => ResourceClaim::clone(&cached),
                    None => self.client.get(key).await?,
                };
                write(claims, claim, pod, own).await
            }
        });
        let written = written.await.map_err(|error| BindError::DeviceClaim(key.clone(), error))?;
        written.map_err(BindError::Devices)
    }

    /// Waits until drivers say that the devices of a pod's claims are ready on its node (KEP-5007).
    async fn until_ready(
        &self,
        claims: &Informer<ResourceClaim>,
        keys: &[ObjectKey],
        pod: &PodInfo,
        node: &str,
    ) -> Result<(), BindError> {
        let waits = |key: &ObjectKey| claims.get(key).is_some_and(|claim| has_conditions(&claim));
        if !keys.iter().any(waits) {
            return Ok(());
        }
        let note = format!("waiting for binding conditions for device on node {node}");
        self.recorder.about(reference(pod), EventType::Normal, "BindingConditionsPending", "Scheduling", note, None);
        let begun = Instant::now();
        loop {
            let unready = first_unready(claims, keys).map_err(BindError::Devices)?;
            let Some(waiting) = unready else { return Ok(()) };
            if begun.elapsed() > READY_DEADLINE || is_overdue(&waiting) {
                self.shared.cluster().devices.set_overdue(waiting.metadata.uid.as_deref().unwrap_or_default());
                let name = waiting.metadata.name.as_deref().unwrap_or_default();
                return Err(BindError::Devices(format!("claim {name} binding timeout")));
            }
            tokio::time::sleep(READY_POLL).await;
        }
    }

    /// Takes back that a pod uses its claims, which was not bound.
    pub(crate) async fn unreserve(&self, pod: &PodInfo, placement: &Placement) {
        if placement.special.is_some() {
            self.discard_special(pod).await;
        }
        if pod.device_claims.is_empty() {
            return;
        }
        let claims = self.informers.of::<ResourceClaim>();
        for key in pod.device_claim_keys() {
            let Some(claim) = claims.get(&key).filter(|claim| is_reserved_for(claim, &pod.uid)) else { continue };
            let patch = json!({"metadata": {"uid": claim.metadata.uid},
                "status": {"reservedFor": [{"$patch": "delete", "uid": pod.uid}]}});
            if let Err(error) = claims.patch_status(&key, &Patch::Strategic(patch)).await {
                tracing::warn!(claim = %key, pod = %pod.key, %error, "a claim stays reserved for a pod that was not bound");
            }
        }
    }

    /// Frees a claim of its devices, which keep `pod` off nodes, unless somebody else uses it by now.
    pub(crate) async fn free(&self, pod: &PodInfo, key: &ObjectKey) {
        let claims = self.informers.of::<ResourceClaim>();
        let Some(mut claim) = claims.get(key).map(|cached| ResourceClaim::clone(&cached)) else { return };
        if !is_idle(&claim, &pod.uid) {
            return;
        }
        let Some(status) = &mut claim.status else { return };
        (status.allocation, status.reserved_for, status.devices) = (None, None, None);
        if let Err(error) = claims.replace_status(&claim).await {
            tracing::warn!(claim = %key, pod = %pod.key, %error, "a claim could not be freed of its devices");
        }
    }
}

/// Writes a claim as it is to be. The inner error says why it can be so no more.
async fn write(
    claims: &Informer<ResourceClaim>,
    mut claim: ResourceClaim,
    pod: &PodInfo,
    own: Option<&Allocation>,
) -> kube::Result<Result<(), String>> {
    if let Err(why) = may_be_written(&claim, own) {
        return Ok(Err(why));
    }
    if own.is_none() && is_reserved_for(&claim, &pod.uid) {
        return Ok(Ok(()));
    }
    let is_kept = claim.metadata.finalizers.iter().flatten().any(|known| known == DEVICES_FINALIZER);
    if own.is_some() && !is_kept {
        claim.metadata.finalizers.get_or_insert_default().push(DEVICES_FINALIZER.to_owned());
        claim = claims.replace(&claim).await?;
    }
    settle(&mut claim, pod, own.map(|own| &own.result), jiff::Timestamp::now());
    claims.replace_status(&claim).await?;
    Ok(Ok(()))
}

/// Whether the claim is still the one that was decided on.
fn may_be_written(claim: &ResourceClaim, own: Option<&Allocation>) -> Result<(), String> {
    let key = ObjectKey::of(claim);
    let other = own.is_some_and(|own| claim.metadata.uid.as_deref() != Some(&own.uid));
    if other || claim.metadata.deletion_timestamp.is_some() {
        return Err(format!("claim {key} got deleted in the meantime"));
    }
    match (own, allocation(claim)) {
        (Some(_), Some(_)) => Err(format!("claim {key} got allocated elsewhere in the meantime")),
        (None, None) => Err(deallocated(claim)),
        _ => Ok(()),
    }
}

/// The status of a claim that a pod uses, with the devices that it gets now.
fn settle(claim: &mut ResourceClaim, pod: &PodInfo, own: Option<&AllocationResult>, now: jiff::Timestamp) {
    let reserved = is_reserved_for(claim, &pod.uid);
    let status = claim.status.get_or_insert_default();
    if let Some(own) = own {
        status.allocation = Some(AllocationResult { allocation_timestamp: Some(Time(now)), ..own.clone() });
    }
    if !reserved {
        status.reserved_for.get_or_insert_default().push(ResourceClaimConsumerReference {
            api_group: None,
            name: pod.key.name.clone(),
            resource: "pods".to_owned(),
            uid: pod.uid.clone(),
        });
    }
}

/// The first claim whose devices are not ready; an error when they never will be.
fn first_unready(claims: &Informer<ResourceClaim>, keys: &[ObjectKey]) -> Result<Option<Arc<ResourceClaim>>, String> {
    for key in keys {
        let Some(claim) = claims.get(key) else {
            return Err(format!("claim {key} got deleted in the meantime"));
        };
        if !readiness(&claim)? {
            return Ok(Some(claim));
        }
    }
    Ok(None)
}

/// Whether a claim has had its devices for longer than they may take to become ready, whoever waits for them.
fn is_overdue(claim: &ResourceClaim) -> bool {
    let since = allocation(claim).and_then(|own| own.allocation_timestamp.as_ref());
    let longest = i64::try_from(READY_DEADLINE.as_secs()).unwrap_or(i64::MAX);
    since.is_some_and(|since| jiff::Timestamp::now().duration_since(since.0).as_secs() > longest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn claim(meta: Value, status: Value) -> ResourceClaim {
        let mut claim = json!({"metadata": {"namespace": "n", "name": "c", "uid": "u"}, "spec": {}, "status": status});
        for (key, value) in meta.as_object().expect("fields") {
            claim["metadata"][key] = value.clone();
        }
        serde_json::from_value(claim).expect("a claim")
    }

    fn result() -> AllocationResult {
        serde_json::from_value(json!({"devices": {"results":
            [{"request": "r", "driver": "d", "pool": "p", "device": "x"}]}}))
        .expect("an allocation")
    }

    fn pod() -> PodInfo {
        let pod = json!({"metadata": {"namespace": "n", "name": "p", "uid": "p1"}, "spec": {"containers": [],
            "resourceClaims": [{"name": "a", "resourceClaimName": "c"}, {"name": "b", "resourceClaimName": "c"}]}});
        PodInfo::new(&serde_json::from_value(pod).expect("a pod")).expect("a pod to schedule")
    }

    #[test]
    fn a_claim_is_written_only_as_it_was_decided_on() {
        let own = Allocation { claim: ObjectKey::new("n", "c"), uid: "u".to_owned(), result: result() };
        let free = claim(json!({}), json!({}));
        let taken = claim(json!({}), json!({"allocation": result()}));
        let going = claim(json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}), json!({}));
        let other = claim(json!({"uid": "later"}), json!({}));
        for (claim, own, why) in [
            (&free, Some(&own), None),
            (&taken, None, None),
            (&taken, Some(&own), Some("claim n/c got allocated elsewhere in the meantime")),
            (&free, None, Some("claim n/c got deallocated elsewhere in the meantime")),
            (&going, Some(&own), Some("claim n/c got deleted in the meantime")),
            (&other, Some(&own), Some("claim n/c got deleted in the meantime")),
        ] {
            assert_eq!(may_be_written(claim, own).err().as_deref(), why);
        }
    }

    #[test]
    fn a_pod_uses_a_claim_once_and_beside_others() {
        let (pod, now) = (pod(), jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(pod.device_claim_keys(), [ObjectKey::new("n", "c")]);
        let mut first = claim(json!({}), json!({}));
        settle(&mut first, &pod, Some(&result()), now);
        settle(&mut first, &pod, None, now);
        let expected = json!({
            "allocation": {"allocationTimestamp": "1970-01-01T00:00:00Z",
                "devices": {"results": [{"request": "r", "driver": "d", "pool": "p", "device": "x"}]}},
            "reservedFor": [{"resource": "pods", "name": "p", "uid": "p1"}],
        });
        assert_eq!(json!(first.status), expected);
        let users = json!([{"resource": "pods", "name": "q", "uid": "q1"}]);
        let mut shared = claim(json!({}), json!({"allocation": result(), "reservedFor": users}));
        settle(&mut shared, &pod, None, now);
        let users: Vec<String> = shared
            .status
            .and_then(|status| status.reserved_for)
            .expect("users")
            .into_iter()
            .map(|user| user.uid)
            .collect();
        assert_eq!(users, ["q1", "p1"]);
    }
}

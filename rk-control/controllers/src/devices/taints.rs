//! Evicts pods from devices with NoExecute taints that their claims do not tolerate, or not for ever.

use super::claim;
use super::eviction::{self, BY_POOL};
use crate::context::Context;
use crate::pods;
use crate::taint_eviction::end_pod;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::resource::v1::{ResourceClaim, ResourceSlice};
use rk_client::{BoxError, Change, Informer, ObjectKey, Outcome, Queue, Recorder};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Component, queue and service account.
const NAME: &str = "device-taint-eviction-controller";
/// Reason of the events.
const REASON: &str = "DeviceTaintManagerEviction";

struct Controller {
    pods: Informer<Pod>,
    claims: Informer<ResourceClaim>,
    slices: Informer<ResourceSlice>,
    recorder: Recorder,
    /// The uids of pods that are to go later. Each has a turn to come that ends or removes it.
    waiting: Mutex<HashMap<ObjectKey, Option<String>>>,
}

/// Starts the loop.
pub(crate) fn register(ctx: &Context) {
    let controller = Arc::new(Controller {
        pods: ctx.informers.of(),
        claims: ctx.informers.of(),
        slices: ctx.informers.of(),
        recorder: ctx.recorders.of(NAME),
        waiting: Mutex::default(),
    });
    controller.claims.index(BY_POOL, eviction::pools_of);
    controller.slices.index(BY_POOL, |slice| vec![eviction::pool_of(slice)]);
    let queue: Queue<ObjectKey> = Queue::default();
    controller.wake(&queue);
    ctx.work(NAME, queue, 8, move |key| {
        let controller = Arc::clone(&controller);
        async move { controller.sync(&key).await }
    });
}

/// Queues the pods that use a claim.
fn look_at_users(queue: &Queue<ObjectKey>, claim: &ResourceClaim) {
    let namespace = claim.metadata.namespace.clone().unwrap_or_default();
    let users = claim::users(claim).filter(|user| claim::is_pod(user));
    users.for_each(|user| queue.add(ObjectKey::new(namespace.clone(), user.name.clone())));
}

impl Controller {
    fn wake(&self, queue: &Queue<ObjectKey>) {
        let q = queue.clone();
        self.pods.on_change(move |change| {
            let pod = change.object();
            // Nearly all pods.
            if claim::keys(pod).next().is_none() {
                return;
            }
            let of = |pod: &Pod| {
                let told = pod.status.as_ref().and_then(|status| status.resource_claim_statuses.clone());
                (pod.metadata.uid.clone(), pods::node_name(pod).map(str::to_owned), told)
            };
            let is_same =
                !matches!(change, Change::Deleted(_)) && change.previous().is_some_and(|old| of(old) == of(pod));
            if !is_same {
                q.add(ObjectKey::of(pod.as_ref()));
            }
        });
        let q = queue.clone();
        self.claims.on_change(move |change| {
            let claim = change.object();
            if let Some(old) = change.previous() {
                if old.status == claim.status {
                    return;
                }
                look_at_users(&q, old);
            }
            look_at_users(&q, claim);
        });
        let (q, claims) = (queue.clone(), self.claims.clone());
        self.slices.on_change(move |change| {
            let slice = change.object();
            if change.previous().is_some_and(|old| eviction::told(old) == eviction::told(slice)) {
                return;
            }
            claims.by_index(BY_POOL, &eviction::pool_of(slice)).iter().for_each(|claim| look_at_users(&q, claim));
        });
    }

    async fn sync(&self, key: &ObjectKey) -> Result<Outcome, BoxError> {
        let Some(pod) = self.pods.get(key).filter(|pod| pods::is_active(pod)) else {
            self.waits_no_more(key);
            return Ok(Outcome::AwaitChange);
        };
        let now = Timestamp::now();
        let Some(due) = self.due(&pod, now) else {
            if self.waits_no_more(key) == Some(pod.metadata.uid.clone()) {
                self.recorder.normal(pod.as_ref(), REASON, "Cancelling deletion");
            }
            return Ok(Outcome::AwaitChange);
        };
        if due > now {
            self.waiting().insert(key.clone(), pod.metadata.uid.clone());
            return Ok(Outcome::RequeueAfter(due.duration_since(now).unsigned_abs()));
        }
        self.evict(&pod, due).await?;
        self.waits_no_more(key);
        Ok(Outcome::AwaitChange)
    }

    /// When a pod has to go: with the first of the claims that it uses.
    fn due(&self, pod: &Pod, now: Timestamp) -> Option<Timestamp> {
        pods::node_name(pod)?;
        let dues = claim::entries(pod).filter_map(|entry| {
            let (name, is_made) = claim::named(pod, entry).claim()?;
            let claim = self.claims.get(&claim::beside(pod, name))?;
            let is_used = claim::is_reserved_for(&claim, pod) && (!is_made || claim::is_for(pod, &claim));
            let slices = |pool: &str| self.slices.by_index(BY_POOL, pool);
            is_used.then(|| eviction::due(&claim, slices, now)).flatten()
        });
        dues.min()
    }

    async fn evict(&self, pod: &Pod, due: Timestamp) -> Result<(), BoxError> {
        let key = ObjectKey::of(pod);
        self.recorder.normal(pod, REASON, "Marking for deletion");
        tracing::info!(pod = %key, "evicting: a device of the pod has a taint that its claim does not tolerate");
        let why = "Device Taint manager: deleting due to NoExecute taint";
        if end_pod(&self.pods, pod, "DeletionByDeviceTaintManager", why).await? {
            let took = Timestamp::now().duration_since(due).unsigned_abs();
            rk_client::count("device_taint_eviction_controller_pod_deletions_total", &[]);
            rk_client::observe("device_taint_eviction_controller_pod_deletion_duration_seconds", &[], took);
        }
        Ok(())
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, HashMap<ObjectKey, Option<String>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waits_no_more(&self, key: &ObjectKey) -> Option<Option<String>> {
        self.waiting().remove(key)
    }
}

//! Keeps cluster and queue current with what the informers see.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use k8s_openapi::api::core::v1::{Namespace, Node, NodeStatus, Pod, PodResourceClaimStatus, PodSpec};
use k8s_openapi::api::storage::v1::VolumeAttachment;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use rk_client::{Change, Informers, Object, ObjectKey};
use tokio::sync::Notify;

use crate::model::{Cluster, PodInfo, askers, pod_request};
use crate::queue::{Event, SchedulingQueue};
use crate::reports::Reports;

/// A pod left the node that it had, or was to have.
pub(crate) const LEFT: Event = ("AssignedPod", "Delete");

/// What the runner and the informers share. Where both locks are needed, `cluster` is taken first.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    cluster: Mutex<Cluster>,
    queue: Mutex<SchedulingQueue>,
    reports: Mutex<Reports>,
    /// Wakes the runner when the queue may have a pod for it.
    pub(crate) wake: Notify,
    /// Wakes who tells the API of pods that fit nowhere.
    pub(crate) reported: Notify,
    /// Tells that a pod is there which may get devices.
    pub(crate) devices_wanted: Notify,
}

impl Shared {
    pub(crate) fn cluster(&self) -> MutexGuard<'_, Cluster> {
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn queue(&self) -> MutexGuard<'_, SchedulingQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn reports(&self) -> MutexGuard<'_, Reports> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pod needs no decision any more: it is gone, over, another's, or has its node.
    fn settled(&self, key: &ObjectKey) {
        let known = self.queue().remove(key);
        self.reports().forget(key);
        if known {
            // One fewer waits: that is counted when the queue is looked at.
            self.wake.notify_one();
        }
    }

    /// Gives back a pod that was out of the queue, unless it is gone: it waits for a change when it fits nowhere, and only backs off
    /// when something went wrong.
    pub(crate) fn give_back(&self, pod: &PodInfo, fits_nowhere: bool) {
        let mut queue = self.queue();
        if queue.holds(pod) && fits_nowhere {
            queue.failed(&pod.key, Instant::now());
        } else if queue.holds(pod) {
            queue.errored(&pod.key, Instant::now());
        }
        drop(queue);
        self.wake.notify_one();
    }

    /// Something happened that may let waiting pods fit.
    pub(crate) fn cluster_changed(&self, event: Event) {
        self.queue().cluster_changed(event, Instant::now());
        self.wake.notify_one();
    }
}

/// Subscribes to everything that decisions depend on.
pub(crate) fn connect(shared: &Arc<Shared>, informers: &Informers, scheduler: &str) {
    let (own, name) = (Arc::clone(shared), scheduler.to_owned());
    informers.of::<Pod>().on_change(move |change| {
        if !needs_devices(change, &name) {
            return on_pod(&own, &name, change);
        }
        if change.previous().is_some_and(|old| old.metadata.uid != change.object().metadata.uid) {
            gone(&own, &ObjectKey::of(change.object().as_ref()));
        }
        own.devices_wanted.notify_one();
    });
    let own = Arc::clone(shared);
    informers.of::<Node>().on_change(move |change| on_node(&own, change));
    let own = Arc::clone(shared);
    informers.of::<Namespace>().on_change(move |change| match change {
        Change::Deleted(namespace) => own.cluster().remove_namespace(&ObjectKey::of(namespace.as_ref()).name),
        other => own.cluster().set_namespace(other.object()),
    });
    keep(shared, informers, "PersistentVolumeClaim", Cluster::set_claim, Cluster::remove_claim);
    keep(shared, informers, "PersistentVolume", Cluster::set_volume, |cluster, key| cluster.remove_volume(&key.name));
    keep(shared, informers, "storage.k8s.io/StorageClass", Cluster::set_class, |cluster, key| {
        cluster.remove_class(&key.name)
    });
    keep(shared, informers, "storage.k8s.io/CSINode", Cluster::set_limits, |cluster, key| {
        cluster.remove_limits(&key.name)
    });
    let own = Arc::clone(shared);
    informers.of::<VolumeAttachment>().on_change(move |change| match change {
        Change::Deleted(attachment) => {
            own.cluster().remove_attachment(&ObjectKey::of(attachment.as_ref()).name);
            own.cluster_changed(("storage.k8s.io/VolumeAttachment", deed(change)));
        }
        // Nobody fits anywhere for that.
        other => own.cluster().set_attachment(other.object()),
    });
    keep(shared, informers, "storage.k8s.io/CSIDriver", Cluster::set_driver, |cluster, key| {
        cluster.remove_driver(&key.name)
    });
    keep(shared, informers, "storage.k8s.io/CSIStorageCapacity", Cluster::set_capacity, Cluster::remove_capacity);
}

/// What a change is called among what brings pods into the queue.
pub(crate) fn deed<K>(change: &Change<K>) -> &'static str {
    match change {
        Change::Added(_) => "Add",
        Change::Updated { .. } => "Update",
        Change::Deleted(_) => "Delete",
    }
}

/// Subscribes to a kind whose every change may let waiting pods fit; `name` is upstream's of what changes.
fn keep<K: Object>(
    shared: &Arc<Shared>,
    informers: &Informers,
    name: &'static str,
    set: fn(&mut Cluster, &K),
    remove: fn(&mut Cluster, &ObjectKey),
) {
    let own = Arc::clone(shared);
    informers.of::<K>().on_change(move |change| {
        match change {
            Change::Deleted(object) => remove(&mut own.cluster(), &ObjectKey::of(object.as_ref())),
            other => set(&mut own.cluster(), other.object()),
        }
        own.cluster_changed((name, deed(change)));
    });
}

/// Whether a pod can be decided on only with what is known of devices; see `follow`.
pub(crate) fn needs_devices(change: &Change<Pod>, scheduler: &str) -> bool {
    let pod = change.object();
    !matches!(change, Change::Deleted(_))
        && !is_over(pod)
        && !is_placed(pod)
        && is_ours(pod, scheduler)
        && may_get_devices(pod)
}

/// Whether a pod claims devices, or asks for resources behind which some may stand.
fn may_get_devices(pod: &Pod) -> bool {
    let claims = |spec: &PodSpec| spec.resource_claims.as_ref().is_some_and(|claims| !claims.is_empty());
    pod.spec.as_ref().is_some_and(|spec| claims(spec) || !askers(spec).is_empty())
}

pub(crate) fn on_pod(shared: &Shared, scheduler: &str, change: &Change<Pod>) {
    let pod = change.object();
    let key = ObjectKey::of(pod.as_ref());
    if matches!(change, Change::Deleted(_)) || is_over(pod) {
        return gone(shared, &key);
    }
    // After a gap in the watch: the end of the pod that had this name before was not told.
    if change.previous().is_some_and(|old| old.metadata.uid != pod.metadata.uid) {
        gone(shared, &key);
    }
    // Known only once it has a node: nothing of a pod that others are to place is read before.
    if !is_placed(pod) && (!is_ours(pod, scheduler) || pod.metadata.deletion_timestamp.is_some()) {
        shared.settled(&key);
        if shared.cluster().withdraw(&key) {
            shared.cluster_changed(LEFT);
        }
        return;
    }
    let info = match PodInfo::new(pod) {
        Ok(info) => Arc::new(info),
        Err(error) => {
            tracing::warn!(pod = %key, %error, "a pod has a selector that cannot be read; it is not scheduled");
            return;
        }
    };
    if let Some(node) = info.node.clone() {
        shared.settled(&key);
        shared.cluster().place(Arc::clone(&info), &node);
        let changed = |old: &Arc<Pod>| pod_request(old) != info.request || old.metadata.labels != pod.metadata.labels;
        // Its arrival and its labels may satisfy the affinity of pods that wait for it, and its resize leave them room.
        if !was_bound(change) || change.previous().is_some_and(changed) {
            shared.cluster_changed(("AssignedPod", if was_bound(change) { "Update" } else { "Add" }));
        }
        return;
    }
    let mut cluster = shared.cluster();
    // A pod whose binding is on its way must not be decided twice; when that fails, it is decided as it is by then.
    if cluster.is_placed(&key) {
        drop(cluster);
        shared.queue().refresh(info);
        return;
    }
    let freed = match &info.nominated {
        Some(node) => {
            cluster.nominate(Arc::clone(&info), node);
            false
        }
        // What was promised a moment ago is not told by the API yet.
        None => change.previous().is_none_or(|old| is_nominated(old)) && cluster.withdraw(&key),
    };
    drop(cluster);
    if freed {
        shared.cluster_changed(LEFT);
    }
    if change.previous().is_some_and(|old| only_status_changed(old, pod)) {
        shared.queue().refresh(info);
        return;
    }
    shared.queue().add(info, Instant::now());
    shared.wake.notify_one();
}

fn gone(shared: &Shared, key: &ObjectKey) {
    shared.settled(key);
    if shared.cluster().remove_pod(key) {
        shared.cluster_changed(LEFT);
    }
}

fn is_placed(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).is_some_and(|node| !node.is_empty())
}

fn is_nominated(pod: &Pod) -> bool {
    pod.status.as_ref().and_then(|status| status.nominated_node_name.as_deref()).is_some_and(|node| !node.is_empty())
}

fn is_ours(pod: &Pod, scheduler: &str) -> bool {
    pod.spec.as_ref().is_some_and(|spec| spec.scheduler_name.as_deref().unwrap_or_default() == scheduler)
}

fn is_over(pod: &Pod) -> bool {
    pod.status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .is_some_and(|phase| matches!(phase, "Succeeded" | "Failed"))
}

fn was_bound(change: &Change<Pod>) -> bool {
    change.previous().and_then(|old| old.spec.as_ref()).is_some_and(|spec| spec.node_name.is_some())
}

/// The scheduler's own condition updates must not count as a change of the pod.
fn only_status_changed(old: &Pod, new: &Pod) -> bool {
    old.metadata.uid == new.metadata.uid
        && old.spec == new.spec
        && old.metadata.labels == new.metadata.labels
        && old.metadata.deletion_timestamp == new.metadata.deletion_timestamp
        && made_claims(old) == made_claims(new)
}

/// The claims of devices that were made for a pod.
fn made_claims(pod: &Pod) -> Option<&[PodResourceClaimStatus]> {
    pod.status.as_ref().and_then(|status| status.resource_claim_statuses.as_deref())
}

fn on_node(shared: &Shared, change: &Change<Node>) {
    let node = change.object();
    match change {
        Change::Deleted(_) => shared.cluster().remove_node(&ObjectKey::of(node.as_ref()).name),
        _ => shared.cluster().set_node(node),
    }
    // Heartbeats change nothing that decisions depend on.
    let same = |old: &Arc<Node>| {
        old.spec == node.spec
            && old.metadata.labels == node.metadata.labels
            && old.status.as_ref().map(offers) == node.status.as_ref().map(offers)
    };
    if !change.previous().is_some_and(same) {
        shared.cluster_changed(("Node", deed(change)));
    }
}

/// What a node has for pods and can do for them.
fn offers(status: &NodeStatus) -> (Option<&BTreeMap<String, Quantity>>, Option<&[String]>) {
    (status.allocatable.as_ref(), status.declared_features.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::time::Duration;

    fn added(scheduler: &str, node: Option<&str>) -> Change<Pod> {
        let spec = json!({"schedulerName": scheduler, "nodeName": node, "containers": []});
        let pod = json!({"metadata": {"namespace": "n", "name": "p", "uid": "u"}, "spec": spec});
        Change::Added(Arc::new(serde_json::from_value(pod).expect("a pod")))
    }

    #[test]
    fn a_pod_of_another_scheduler_counts_once_it_has_a_node() {
        let (shared, key) = (Shared::default(), ObjectKey::new("n", "p"));
        on_pod(&shared, "own", &added("other", None));
        assert!(shared.queue().pop(Instant::now()).is_none());
        assert!(!shared.cluster().is_placed(&key));
        on_pod(&shared, "own", &added("other", Some("a")));
        assert!(shared.queue().pop(Instant::now()).is_none());
        assert!(shared.cluster().is_placed(&key));
        let shared = Shared::default();
        on_pod(&shared, "own", &added("own", None));
        assert!(shared.queue().pop(Instant::now()).is_some());
    }

    #[tokio::test]
    async fn a_pod_that_waits_no_more_is_told_of_once() {
        let shared = Shared::default();
        let Change::Added(pod) = added("own", None) else { panic!("it is added") };
        let woken = || tokio::time::timeout(Duration::ZERO, shared.wake.notified());
        on_pod(&shared, "own", &Change::Added(Arc::clone(&pod)));
        assert!(woken().await.is_ok());
        on_pod(&shared, "own", &Change::Deleted(Arc::clone(&pod)));
        assert!(woken().await.is_ok(), "so that those that wait are counted anew");
        on_pod(&shared, "own", &Change::Deleted(pod));
        assert!(woken().await.is_err());
    }

    #[test]
    fn a_pod_is_not_taken_for_another_that_had_its_name() {
        let pod = |uid: &str, node: Option<&str>| -> Arc<Pod> {
            let spec = json!({"schedulerName": "own", "nodeName": node, "containers": []});
            let pod = json!({"metadata": {"namespace": "n", "name": "p", "uid": uid}, "spec": spec});
            Arc::new(serde_json::from_value(pod).expect("a pod"))
        };
        let (shared, key, old) = (Shared::default(), ObjectKey::new("n", "p"), pod("old", Some("a")));
        on_pod(&shared, "own", &Change::Added(Arc::clone(&old)));
        assert!(shared.cluster().is_placed(&key));
        on_pod(&shared, "own", &Change::Updated { old, new: pod("new", None) });
        assert!(!shared.cluster().is_placed(&key));
        assert!(shared.queue().pop(Instant::now()).is_some_and(|pod| pod.uid == "new"));
    }

    #[test]
    fn a_pod_that_changes_while_it_is_bound_is_tried_again_as_it_is() {
        let pod = |color: &str| -> Arc<Pod> {
            let meta = json!({"namespace": "n", "name": "p", "uid": "u", "labels": {"color": color}});
            let pod = json!({"metadata": meta, "spec": {"schedulerName": "own", "containers": []}});
            Arc::new(serde_json::from_value(pod).expect("a pod"))
        };
        let (shared, old) = (Shared::default(), pod("red"));
        on_pod(&shared, "own", &Change::Added(Arc::clone(&old)));
        let taken = shared.queue().pop(Instant::now()).expect("its turn");
        shared.cluster().place(Arc::clone(&taken), "a");
        on_pod(&shared, "own", &Change::Updated { old, new: pod("blue") });
        assert!(shared.queue().pop(Instant::now()).is_none(), "one attempt at a time");
        assert!(shared.cluster().unassume(&taken));
        shared.give_back(&taken, false);
        let again = shared.queue().pop(Instant::now() + Duration::from_secs(60)).expect("another turn");
        assert_eq!(again.labels.get("color").map(String::as_str), Some("blue"));
    }

    #[test]
    fn a_promise_holds_until_it_is_taken_back() {
        let pod = |name: &str, status: serde_json::Value| -> Arc<Pod> {
            let meta = json!({"namespace": "n", "name": name, "uid": name});
            let spec = json!({"schedulerName": "own", "containers": []});
            let pod = json!({"metadata": meta, "spec": spec, "status": status});
            Arc::new(serde_json::from_value(pod).expect("a pod"))
        };
        let (shared, old) = (Shared::default(), pod("p", json!({})));
        let other = PodInfo::new(&pod("other", json!({}))).expect("a pod to schedule");
        let promised = || shared.cluster().ahead_of(&other, "a").count();
        on_pod(&shared, "own", &Change::Added(Arc::clone(&old)));
        let taken = shared.queue().pop(Instant::now()).expect("its turn");
        shared.cluster().nominate(taken, "a");
        let late = pod("p", json!({"message": "of an attempt before"}));
        on_pod(&shared, "own", &Change::Updated { old, new: Arc::clone(&late) });
        assert_eq!(promised(), 1, "the API does not know of it yet");
        let told = pod("p", json!({"nominatedNodeName": "a"}));
        on_pod(&shared, "own", &Change::Updated { old: Arc::clone(&late), new: Arc::clone(&told) });
        assert_eq!(promised(), 1);
        on_pod(&shared, "own", &Change::Updated { old: told, new: late });
        assert_eq!(promised(), 0);
    }
}

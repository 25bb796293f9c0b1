//! One attempt to place a pod, on what the queue and the cluster know together.
//!
//! A pod that has its turn may wait for a free call to the API. What is gone by then is neither placed nor makes room: nothing would
//! come later that takes it out of the cluster again.

use std::cell::Cell;
use std::sync::Arc;

use crate::confirm::{are_there, confirmed};
use crate::decide::{Decision, decide, decide_within};
use crate::devices::Allocation;
use crate::diagnosis::Diagnosis;
use crate::filter::STEPS_AT_ONCE;
use crate::model::{Cluster, PodInfo};
use crate::preempt::{Budget, Eviction, preempt, preempt_within};
use crate::sync::{LEFT, Shared};

/// What came of a search while the cluster was locked.
enum Attempt<T> {
    Over(T),
    /// It was to take too long: it is begun anew in this copy.
    Long(Box<Cluster>),
}

impl Shared {
    /// Decides on a pod, and counts it on the node that it gets. `None` when the queue does not speak of it any more, or has it back since
    /// the cluster changed while devices were searched for.
    pub(crate) async fn decide(&self, pod: &Arc<PodInfo>) -> Option<Decision> {
        let search = |steps: &Cell<u64>, cluster: &mut Cluster| decide_within(steps, cluster, pod);
        let mut copy = match self.attempt(pod, search, |cluster, decision| assume(cluster, pod, decision))? {
            Attempt::Over(decision) => return Some(decision),
            Attempt::Long(copy) => copy,
        };
        let own = Arc::clone(pod);
        let found = tokio::task::spawn_blocking(move || {
            let decision = decide(&mut copy, &own);
            (copy, decision)
        });
        let taken = found.await.ok().and_then(|(copy, decision)| self.take_over(pod, &copy, decision));
        if taken.is_none() {
            self.give_back(pod, false);
        }
        taken
    }

    /// Takes over what was found in a copy, unless that does not hold any more.
    fn take_over(&self, pod: &Arc<PodInfo>, copy: &Cluster, decision: Decision) -> Option<Decision> {
        let mut cluster = self.cluster();
        if !self.queue().holds(pod) {
            return None;
        }
        let decision = match decision {
            Decision::Node(placement) => Decision::Node(confirmed(&cluster, copy, pod, placement)?),
            other => other,
        };
        assume(&mut cluster, pod, &decision);
        Some(decision)
    }

    /// Searches while the cluster is locked, and takes in what is found; copies the cluster when that would take too long. `None` when the
    /// queue does not speak of the pod any more.
    fn attempt<T>(
        &self,
        pod: &PodInfo,
        search: impl FnOnce(&Cell<u64>, &mut Cluster) -> T,
        take_in: impl FnOnce(&mut Cluster, &T),
    ) -> Option<Attempt<T>> {
        let mut cluster = self.cluster();
        if !self.queue().holds(pod) {
            return None;
        }
        let steps = Cell::new(STEPS_AT_ONCE);
        let found = search(&steps, &mut cluster);
        if steps.get() == 0 {
            return Some(Attempt::Long(Box::new(Cluster::clone(&cluster))));
        }
        take_in(&mut cluster, &found);
        Some(Attempt::Over(found))
    }

    /// Counts out what a pod was to get of devices once its binding is over: what is written, the informer tells of. Of what is not,
    /// nobody else tells those who wait for it: the pod may be gone by now.
    pub(crate) fn end_devices(&self, allocations: &[Arc<Allocation>], bound: bool) {
        if allocations.is_empty() {
            return;
        }
        self.cluster().devices.end(allocations);
        if !bound {
            self.cluster_changed(LEFT);
        }
    }

    /// Chooses whom to evict for a pod, and promises it the room. `None` when nobody is to be evicted, or the queue does not speak of
    /// the pod any more.
    pub(crate) async fn choose_victims(
        &self,
        pod: &Arc<PodInfo>,
        diagnosis: &Diagnosis,
        budgets: &[Budget],
    ) -> Option<Eviction> {
        let search = |steps: &Cell<u64>, cluster: &mut Cluster| preempt_within(steps, cluster, pod, diagnosis, budgets);
        let copy = match self.attempt(pod, search, |cluster, eviction| promise(cluster, pod, eviction.as_ref()))? {
            Attempt::Over(eviction) => return eviction,
            Attempt::Long(copy) => copy,
        };
        let (own, diagnosis, budgets) = (Arc::clone(pod), diagnosis.clone(), budgets.to_vec());
        let found = tokio::task::spawn_blocking(move || preempt(&copy, &own, &diagnosis, &budgets));
        let eviction = found.await.ok().flatten()?;
        let mut cluster = self.cluster();
        if !self.queue().holds(pod) || !are_there(&cluster, &eviction) {
            return None;
        }
        promise(&mut cluster, pod, Some(&eviction));
        Some(eviction)
    }
}

/// Counts a pod on the node that it gets, with all that it gets there.
fn assume(cluster: &mut Cluster, pod: &Arc<PodInfo>, decision: &Decision) {
    let Decision::Node(placement) = decision else { return };
    cluster.devices.begin(&placement.allocations);
    cluster.place(Arc::clone(pod), &placement.node);
    cluster.storage.promise(&pod.key, &placement.node, &placement.volumes);
}

/// Promises a pod the room that others leave to it.
fn promise(cluster: &mut Cluster, pod: &Arc<PodInfo>, eviction: Option<&Eviction>) {
    if let Some(eviction) = eviction {
        cluster.nominate(Arc::clone(pod), &eviction.node);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use k8s_openapi::api::core::v1::Pod;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use rk_client::Change;
    use serde_json::{Value, json};

    use super::*;
    use crate::sync::on_pod;

    fn pod(name: &str, priority: i32) -> Arc<PodInfo> {
        let pod = json!({"metadata": {"name": name, "namespace": "n", "uid": name},
            "spec": {"priority": priority, "containers": [{"name": "c", "resources": {"requests": {"cpu": "4"}}}]}});
        Arc::new(PodInfo::new(&serde_json::from_value(pod).expect("a pod")).expect("a pod to schedule"))
    }

    fn one_node() -> Shared {
        let shared = Shared::default();
        let node = json!({"metadata": {"name": "a"}, "status": {"allocatable": {"cpu": "4", "pods": "10"}}});
        shared.cluster().set_node(&serde_json::from_value(node).expect("a node"));
        shared
    }

    fn popped(shared: &Shared, pod: &Arc<PodInfo>) -> Arc<PodInfo> {
        shared.queue().add(Arc::clone(pod), Instant::now());
        shared.queue().pop(Instant::now()).expect("its turn")
    }

    #[tokio::test]
    async fn a_pod_that_is_gone_when_its_turn_comes_is_not_placed() {
        let shared = one_node();
        let waiting = popped(&shared, &pod("p", 0));
        shared.queue().remove(&waiting.key);
        assert!(shared.decide(&waiting).await.is_none());
        assert!(!shared.cluster().is_placed(&waiting.key), "so that a later one of its name is not taken for it");
        let later = popped(&shared, &Arc::new(PodInfo { uid: "later".into(), ..PodInfo::clone(&waiting) }));
        assert!(shared.decide(&waiting).await.is_none());
        assert!(matches!(shared.decide(&later).await, Some(Decision::Node(placement)) if placement.node == "a"));
        assert!(shared.cluster().is_placed(&later.key));
    }

    #[test]
    fn devices_that_a_pod_does_not_get_are_told_of_though_it_is_gone() {
        let allocation = json!({"devices": {"results": [{"request": "r", "driver": "d", "pool": "p", "device": "x"}]}});
        let own = Allocation {
            claim: rk_client::ObjectKey::new("n", "c"),
            uid: "c".to_owned(),
            result: serde_json::from_value(allocation).expect("an allocation"),
        };
        let (decided, none): (&[Arc<Allocation>], &[Arc<Allocation>]) = (&[Arc::new(own)], &[]);
        for (allocations, bound, waits) in [(decided, false, 0), (decided, true, 1), (none, false, 1)] {
            let shared = Shared::default();
            let waiting = popped(&shared, &pod("p", 0));
            shared.queue().failed(&waiting.key, Instant::now());
            shared.end_devices(allocations, bound);
            assert!(shared.queue().waiting().contains(&("unschedulable", waits)), "{bound} {}", allocations.len());
        }
    }

    #[test]
    fn labels_that_change_and_promises_that_end_let_others_try_again() {
        let told = |color: &str, node: Value, nominated: Value| -> Arc<Pod> {
            let meta = json!({"name": "q", "namespace": "n", "uid": "q", "labels": {"color": color}});
            let spec = json!({"schedulerName": "own", "nodeName": node, "containers": []});
            let pod = json!({"metadata": meta, "spec": spec, "status": {"nominatedNodeName": nominated}});
            Arc::new(serde_json::from_value(pod).expect("a pod"))
        };
        let placed = |color: &str| told(color, json!("a"), Value::Null);
        let (hopes, gives_up) = (told("", Value::Null, json!("a")), told("", Value::Null, Value::Null));
        let mut leaves = Pod::clone(&hopes);
        leaves.metadata.deletion_timestamp = Some(Time(jiff::Timestamp::now()));
        for (old, change, again) in [
            (Arc::clone(&hopes), Change::Updated { old: Arc::clone(&hopes), new: Arc::new(leaves) }, true),
            (placed("red"), Change::Updated { old: placed("red"), new: placed("blue") }, true),
            (placed("red"), Change::Updated { old: placed("red"), new: placed("red") }, false),
            (Arc::clone(&hopes), Change::Updated { old: Arc::clone(&hopes), new: gives_up }, true),
            (Arc::clone(&hopes), Change::Deleted(hopes), true),
        ] {
            let shared = one_node();
            on_pod(&shared, "own", &Change::Added(old));
            let waiting = popped(&shared, &pod("p", 1));
            shared.queue().failed(&waiting.key, Instant::now());
            on_pod(&shared, "own", &change);
            assert_eq!(shared.queue().waiting().contains(&("unschedulable", 0)), again, "{change:?}");
        }
    }

    #[tokio::test]
    async fn nobody_leaves_for_a_pod_that_is_gone() {
        let shared = one_node();
        shared.cluster().place(pod("running", 1), "a");
        let new = popped(&shared, &pod("new", 10));
        let Some(Decision::Unschedulable(diagnosis)) = shared.decide(&new).await else { panic!("the node is full") };
        let lesser = pod("lesser", 5);
        let promised = || shared.cluster().ahead_of(&lesser, "a").count();
        shared.queue().remove(&new.key);
        assert!(shared.choose_victims(&new, &diagnosis, &[]).await.is_none());
        assert_eq!(promised(), 0, "nothing is kept free for it");
        let new = popped(&shared, &new);
        let eviction = shared.choose_victims(&new, &diagnosis, &[]).await.expect("a victim");
        assert_eq!((eviction.node.as_str(), eviction.victims.len(), promised()), ("a", 1, 1));
    }
}

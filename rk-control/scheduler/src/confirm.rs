//! Whether what was found in a copy of the cluster holds in the cluster itself, which went on meanwhile.

use std::sync::Arc;

use crate::decide::Placement;
use crate::devices::Extended;
use crate::filter::{Filters, View};
use crate::model::{Cluster, PodInfo};
use crate::preempt::Eviction;

/// A placement that was found in `copy`, with what the pod's volumes get by now; `None` when its node does not take the pod any more, or
/// its devices would have to be searched for again.
pub(crate) fn confirmed(cluster: &Cluster, copy: &Cluster, pod: &PodInfo, placement: Placement) -> Option<Placement> {
    let node = cluster.node(&placement.node).filter(|node| node.known)?;
    let then = copy.node(&placement.node)?;
    let same = node.labels == then.labels && node.allocatable == then.allocatable;
    if !same || cluster.storage.problem(pod).is_some() {
        return None;
    }
    if !cluster.devices.allow(&copy.devices, pod, &placement.allocations) {
        return None;
    }
    let nothing = Extended::default();
    Filters::prepare(View::of(cluster, 0), pod, &nothing).check_all_but_devices(node).ok()?;
    let volumes = cluster.storage.choose(pod, node).ok()?;
    Some(Placement { volumes, ..placement })
}

/// Whether all who are to leave are there still: where one has gone, fewer others may do.
pub(crate) fn are_there(cluster: &Cluster, eviction: &Eviction) -> bool {
    let Some(node) = cluster.node(&eviction.node) else { return false };
    let is_there = |victim: &Arc<PodInfo>| node.pods.get(&victim.key).is_some_and(|own| own.uid == victim.uid);
    eviction.victims.iter().all(is_there)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Instant;

    use k8s_openapi::api::resource::v1::{ResourceClaim, ResourceSlice};
    use serde_json::{Value, json};

    use super::*;
    use crate::decide::{Decision, decide_within};
    use crate::filter::STEPS_AT_ONCE;
    use crate::sync::Shared;

    /// What happens while a search runs.
    type Change = fn(&Shared);

    const DRIVER: &str = "d.example.com";

    fn slice(generation: i64) -> Arc<ResourceSlice> {
        let device = |place: i64| json!({"name": format!("x{place}"), "attributes": {"place": {"int": place}}});
        let devices: Vec<Value> = (0..28).map(device).collect();
        let pool = json!({"name": "a", "generation": generation, "resourceSliceCount": 1});
        let spec = json!({"driver": DRIVER, "nodeName": "a", "pool": pool, "devices": devices});
        Arc::new(serde_json::from_value(json!({"metadata": {"name": "a"}, "spec": spec})).expect("a slice"))
    }

    fn claim(name: &str, requests: &Value, status: &Value) -> Arc<ResourceClaim> {
        let meta = json!({"namespace": "n", "name": name, "uid": name});
        let claim = json!({"metadata": meta, "spec": {"devices": {"requests": requests}}, "status": status});
        Arc::new(serde_json::from_value(claim).expect("a claim"))
    }

    /// Another's claim, which has a device of a pool.
    fn other(pool: &str) -> Arc<ResourceClaim> {
        let result = json!({"request": "r", "driver": DRIVER, "pool": pool, "device": "x9"});
        claim("other", &json!([]), &json!({"allocation": {"devices": {"results": [result]}}}))
    }

    fn pod(name: &str, priority: i32, cpu: &str, claims: &Value) -> Arc<PodInfo> {
        let pod = json!({"metadata": {"name": name, "namespace": "n", "uid": name}, "spec": {"priority": priority,
            "resourceClaims": claims, "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}});
        Arc::new(PodInfo::new(&serde_json::from_value(pod).expect("a pod")).expect("a pod to schedule"))
    }

    /// A node, and a pod that has its turn: of 28 devices it wants any four, and the first one besides. That these four must leave out the
    /// first is found out by trying all sets with it.
    fn hard(cpu: &str) -> (Shared, Arc<PodInfo>) {
        let shared = Shared::default();
        let mut cluster = shared.cluster();
        let node = json!({"metadata": {"name": "a"}, "status": {"allocatable": {"cpu": "4", "pods": "10"}}});
        cluster.set_node(&serde_json::from_value(node).expect("a node"));
        cluster.set_device_slice(&slice(1));
        let first = format!("device.attributes['{DRIVER}'].place == 0");
        for (name, selectors) in [("any", json!([])), ("first", json!([{"cel": {"expression": first}}]))] {
            let class = json!({"metadata": {"name": name}, "spec": {"selectors": selectors}});
            cluster.set_device_class(&Arc::new(serde_json::from_value(class).expect("a class")));
        }
        let requests = json!([{"name": "four", "exactly": {"deviceClassName": "any", "count": 4}},
            {"name": "one", "exactly": {"deviceClassName": "first"}}]);
        cluster.set_device_claim(&claim("c", &requests, &json!({})));
        drop(cluster);
        let new = pod("p", 10, cpu, &json!([{"name": "r", "resourceClaimName": "c"}]));
        shared.queue().add(new, Instant::now());
        let new = shared.queue().pop(Instant::now()).expect("its turn");
        (shared, new)
    }

    #[tokio::test]
    async fn a_search_that_takes_long_is_not_done_at_once_and_what_it_finds_is_counted() {
        let (shared, new) = hard("1");
        let steps = Cell::new(STEPS_AT_ONCE);
        let at_once = decide_within(&steps, &mut shared.cluster().clone(), &new);
        assert!(matches!(at_once, Decision::Unschedulable(_)) && steps.get() == 0);
        let Some(Decision::Node(placement)) = shared.decide(&new).await else { panic!("there are devices") };
        let results = placement.allocations.iter().filter_map(|own| own.result.devices.as_ref()?.results.as_ref());
        let devices: Vec<&str> = results.flatten().map(|own| own.device.as_str()).collect();
        assert_eq!(devices, ["x1", "x2", "x3", "x4", "x0"]);
        assert!(shared.cluster().is_placed(&new.key));
        assert!(shared.cluster().devices.problem(&new).is_some_and(|why| why.contains("being allocated")));
    }

    #[tokio::test]
    async fn what_a_long_search_finds_holds_unless_what_it_went_by_changes_meanwhile() {
        let changes: [(&str, Change, bool); 7] = [
            ("nothing", |_| {}, true),
            ("a device of another pool", |shared| shared.cluster().set_device_claim(&other("b")), true),
            ("a device of the pool", |shared| shared.cluster().set_device_claim(&other("a")), false),
            ("the pool", |shared| shared.cluster().set_device_slice(&slice(2)), false),
            ("the claim", |shared| shared.cluster().set_device_claim(&claim("c", &json!([]), &json!({}))), false),
            ("room", |shared| shared.cluster().place(pod("q", 0, "4", &json!([])), "a"), false),
            ("the node", |shared| shared.cluster().remove_node("a"), false),
        ];
        for (what, change, holds) in changes {
            let (shared, new) = hard("1");
            let (decision, ()) = tokio::join!(shared.decide(&new), async { change(&shared) });
            assert_eq!(matches!(decision, Some(Decision::Node(_))), holds, "{what}");
            assert_eq!(shared.cluster().is_placed(&new.key), holds, "{what}");
            let again = shared.queue().waiting().contains(&("backoff", 1));
            assert_eq!((decision.is_none(), again), (!holds, !holds), "{what}: it is tried again");
        }
        let (shared, new) = hard("1");
        let (decision, known) = tokio::join!(shared.decide(&new), async { shared.queue().remove(&new.key) });
        assert!(known && decision.is_none() && !shared.cluster().is_placed(&new.key));
    }

    #[tokio::test]
    async fn nobody_leaves_by_a_long_search_once_another_has_left() {
        let gone = |shared: &Shared| assert!(shared.cluster().remove_pod(&rk_client::ObjectKey::new("n", "old")));
        let changes: [(Change, bool); 2] = [(|_| {}, true), (gone, false)];
        for (change, leaves) in changes {
            let (shared, new) = hard("4");
            shared.cluster().place(pod("old", 0, "4", &json!([])), "a");
            let Some(Decision::Unschedulable(diagnosis)) = shared.decide(&new).await else { panic!("it is full") };
            let (eviction, ()) = tokio::join!(shared.choose_victims(&new, &diagnosis, &[]), async { change(&shared) });
            assert_eq!(eviction.is_some(), leaves);
            let lesser = pod("lesser", 5, "1", &json!([]));
            assert_eq!(shared.cluster().ahead_of(&lesser, "a").count(), usize::from(leaves));
        }
    }
}

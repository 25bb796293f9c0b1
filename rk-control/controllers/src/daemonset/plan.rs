//! Which daemon pods to make and to delete, whatever their template.

use super::placement::pinned;
use crate::pods;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One node's share of the set.
#[derive(Debug, Default, Clone)]
pub(super) struct Seat {
    pub(super) should_run: bool,
    pub(super) may_stay: bool,
    pub(super) pods: Vec<Arc<Pod>>,
}

#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// Nodes to make a pod for.
    pub(super) create: Vec<String>,
    /// Pods to delete, by name.
    pub(super) delete: Vec<String>,
    /// Failed pods among them.
    pub(super) failed: Vec<String>,
}

/// What makes a pod a new one, and an available one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms<'a> {
    /// The hash of the set's template.
    pub(super) hash: &'a str,
    /// Seconds for which an available pod has been ready.
    pub(super) min_ready: i32,
    pub(super) now: Timestamp,
}

impl Terms<'_> {
    pub(super) fn is_current(&self, pod: &Pod) -> bool {
        is_current(pod, self.hash)
    }

    pub(super) fn is_available(&self, pod: &Pod) -> bool {
        pods::is_active(pod) && pods::availability(pod, self.min_ready, self.now).0
    }
}

/// Whether a pod was made from the template with this hash.
pub(super) fn is_current(pod: &Pod, hash: &str) -> bool {
    crate::history::hash_of(&pod.metadata) == Some(hash)
}

pub(super) fn name(pod: &Pod) -> String {
    pod.metadata.name.clone().unwrap_or_default()
}

/// Seats pods on their nodes, or on those that they are tied to. Pods that ran on a node that is gone get no seat: it may come back with
/// them, and else they are garbage.
pub(super) fn seat(seats: &mut BTreeMap<String, Seat>, owned: Vec<Arc<Pod>>) {
    let (placed, waiting): (Vec<_>, Vec<_>) = owned.into_iter().partition(|pod| pods::node_name(pod).is_some());
    for pod in placed {
        let node = pods::node_name(&pod).unwrap_or_default().to_owned();
        if let Some(seat) = seats.get_mut(&node) {
            seat.pods.push(pod);
        }
    }
    for pod in waiting {
        let node = pod.spec.as_ref().and_then(pinned).unwrap_or_default().to_owned();
        seats.entry(node).or_default().pods.push(pod);
    }
}

/// Pods where they should be, one per node, except that during a surge an old and a new one may share a node.
pub(super) fn manage(seats: &BTreeMap<String, Seat>, terms: Terms<'_>, surge: bool) -> Plan {
    let mut plan = Plan::default();
    for (node, seat) in seats {
        let living: Vec<&Arc<Pod>> = seat.pods.iter().filter(|p| !pods::is_terminating(p)).collect();
        if !(seat.should_run || seat.may_stay) {
            plan.delete.extend(living.iter().map(|p| name(p)));
            continue;
        }
        // What failed is cleared away; its successor is made in the next run.
        let (failed, working): (Vec<&Arc<Pod>>, Vec<&Arc<Pod>>) =
            living.iter().copied().partition(|p| pods::is_finished(p));
        plan.failed.extend(failed.iter().filter(|p| pods::phase(p) == "Failed").map(|p| name(p)));
        plan.delete.extend(failed.iter().map(|p| name(p)));
        // A daemon that is still terminating keeps its ports and paths: its successor waits for it, unless two may share a node.
        let is_free = surge || seat.pods.iter().all(|p| pods::is_finished(p));
        if living.is_empty() && seat.should_run && is_free {
            plan.create.push(node.clone());
        }
        plan.delete.extend(excess(working, terms, surge));
    }
    plan
}

/// The pods of a node that are too many, by name.
fn excess(mut working: Vec<&Arc<Pod>>, terms: Terms<'_>, surge: bool) -> Vec<String> {
    let created = |p: &Pod| p.metadata.creation_timestamp.as_ref().map(|t| t.0);
    working.sort_by_key(|p| (pods::node_name(p).is_none(), created(p), name(p)));
    if !surge || working.len() < 2 {
        return working.iter().skip(1).map(|p| name(p)).collect();
    }
    let (new, old): (Vec<&Arc<Pod>>, Vec<&Arc<Pod>>) = working.into_iter().partition(|p| terms.is_current(p));
    let mut excess: Vec<String> = new.iter().skip(1).chain(old.iter().skip(1)).map(|p| name(p)).collect();
    // An old pod stays for as long as it serves and its successor does not.
    if let (Some(new), Some(old)) = (new.first(), old.first())
        && (!pods::is_ready(old) || terms.is_available(new))
    {
        excess.push(name(old));
    }
    excess
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::placement::pin;
    use super::*;
    use k8s_openapi::api::core::v1::PodSpec;
    use serde_json::json;

    pub(in super::super) fn pod(name: &str, hash: &str, phase: &str, ready: bool) -> Arc<Pod> {
        let (labels, ready) = (json!({"controller-revision-hash": hash}), if ready { "True" } else { "False" });
        let conditions = json!([{"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
        let pod =
            json!({"metadata": {"name": name, "labels": labels}, "status": {"phase": phase, "conditions": conditions}});
        Arc::new(serde_json::from_value(pod).expect("valid"))
    }

    pub(in super::super) fn leaving(pod: &Pod) -> Arc<Pod> {
        let mut pod = pod.clone();
        pod.metadata.deletion_timestamp = Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).expect("a time"));
        Arc::new(pod)
    }

    pub(in super::super) fn seats(list: Vec<(&str, bool, Vec<Arc<Pod>>)>) -> BTreeMap<String, Seat> {
        list.into_iter()
            .map(|(node, should_run, pods)| (node.to_owned(), Seat { should_run, may_stay: should_run, pods }))
            .collect()
    }

    /// At ten seconds after the pods became ready.
    pub(in super::super) fn terms(hash: &str, min_ready: i32) -> Terms<'_> {
        Terms { hash, min_ready, now: "2026-01-01T00:00:10Z".parse().expect("a time") }
    }

    #[test]
    fn pods_of_a_node_that_is_gone_are_left_alone_unless_they_wait_for_it() {
        let with = |name: &str, spec: PodSpec| {
            Arc::new(Pod { spec: Some(spec), ..Pod::clone(&pod(name, "1", "Running", true)) })
        };
        let on = |node: &str| PodSpec { node_name: Some(node.to_owned()), ..PodSpec::default() };
        let mut tied = PodSpec::default();
        pin(&mut tied, "gone");
        let mut seats = seats(vec![("n", true, vec![])]);
        seat(&mut seats, vec![with("here", on("n")), with("away", on("gone")), with("waits", tied)]);
        let names = |node: &str| -> Vec<String> { seats[node].pods.iter().map(|pod| name(pod)).collect() };
        assert_eq!((names("n"), names("gone")), (vec!["here".to_owned()], vec!["waits".to_owned()]));
    }

    #[test]
    fn every_node_gets_exactly_one_daemon() {
        let seats = seats(vec![
            ("empty", true, vec![]),
            ("good", true, vec![pod("a", "1", "Running", true)]),
            ("double", true, vec![pod("b", "1", "Running", true), pod("c", "1", "Running", true)]),
            ("failed", true, vec![pod("d", "1", "Failed", false)]),
            ("unwanted", false, vec![pod("e", "1", "Running", true)]),
        ]);
        let plan = manage(&seats, terms("1", 0), false);
        assert_eq!(plan.create, ["empty"]);
        assert_eq!(plan.delete, ["c", "d", "e"]);
        assert_eq!(plan.failed, ["d"]);
    }

    #[test]
    fn a_daemon_waits_for_the_end_of_the_last_one_unless_two_may_share_a_node() {
        let (running, failed) = (pod("a", "1", "Running", true), pod("b", "1", "Failed", false));
        let seats = seats(vec![
            ("ended", true, vec![leaving(&failed)]),
            ("ending", true, vec![leaving(&running)]),
            ("failed", true, vec![Arc::clone(&failed)]),
            ("unwanted", false, vec![leaving(&running)]),
        ]);
        let created = |surge| manage(&seats, terms("1", 0), surge).create;
        assert_eq!(created(false), ["ended"]);
        assert_eq!(created(true), ["ended", "ending"]);
    }

    #[test]
    fn two_share_a_node_while_the_old_one_serves_and_the_new_one_does_not() {
        let (old, broken) = (pod("old", "1", "Running", true), pod("old", "1", "Running", false));
        let (new, starting) = (pod("new", "2", "Running", true), pod("new", "2", "Pending", false));
        let other = pod("other", "1", "Running", true);
        for (pods, min_ready, deleted) in [
            (vec![&old, &starting], 0, vec![]),
            (vec![&old, &new], 0, vec!["old"]),
            (vec![&old, &new], 60, vec![]),
            (vec![&broken, &starting], 0, vec!["old"]),
            (vec![&old, &other, &starting], 0, vec!["other"]),
            (vec![&old, &other], 0, vec!["other"]),
        ] {
            let seats = seats(vec![("n", true, pods.into_iter().cloned().collect())]);
            let plan = manage(&seats, terms("2", min_ready), true);
            assert_eq!((plan.delete, plan.create.len()), (deleted.into_iter().map(str::to_owned).collect(), 0));
        }
    }
}

//! Which daemon pods to make and to delete.

use crate::pods;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How many nodes may be without a daemon, or have two, during an update.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Fences {
    pub(super) surge: usize,
    pub(super) unavailable: usize,
}

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

fn name(pod: &Pod) -> String {
    pod.metadata.name.clone().unwrap_or_default()
}

/// Pods where they should be, one per node, except that during a surge an old and a new one may share a node.
pub(super) fn manage(seats: &BTreeMap<String, Seat>, hash: &str, surge: bool) -> Plan {
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
        if working.is_empty()
            && failed.is_empty()
            && seat.pods.iter().all(|p| pods::is_terminating(p))
            && seat.should_run
        {
            // A daemon that is still terminating keeps its ports and paths; its successor waits for it.
            if seat.pods.is_empty() {
                plan.create.push(node.clone());
            }
            continue;
        }
        let mut excess: Vec<&Arc<Pod>> = working;
        excess.sort_by_key(|p| p.metadata.creation_timestamp.as_ref().map(|t| t.0));
        let keep_two = surge && excess.len() == 2 && excess.iter().filter(|p| is_current(p, hash)).count() == 1;
        if !keep_two {
            plan.delete.extend(excess.iter().skip(1).map(|p| name(p)));
        }
    }
    plan
}

pub(super) fn is_current(pod: &Pod, hash: &str) -> bool {
    pod.metadata.labels.as_ref().and_then(|l| l.get(crate::history::HASH_LABEL)).is_some_and(|h| h == hash)
}

/// Replaces old pods as far as the fences allow.
pub(super) fn roll(seats: &BTreeMap<String, Seat>, hash: &str, fences: Fences, min_ready: i32, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let available = |pod: &Pod| pods::is_active(pod) && pods::availability(pod, min_ready, now).0;
    let (mut unavailable, mut surging) = (0, 0);
    let (mut broken_old, mut working_old) = (Vec::new(), Vec::new());
    let mut surge_nodes = Vec::new();
    for (node, seat) in seats.iter().filter(|(_, s)| s.should_run) {
        let living: Vec<&Arc<Pod>> = seat.pods.iter().filter(|p| pods::is_active(p)).collect();
        let new = living.iter().find(|p| is_current(p, hash));
        let old = living.iter().find(|p| !is_current(p, hash));
        unavailable += usize::from(!living.iter().any(|p| available(p)));
        match (old, new) {
            (Some(old), None) if available(old) => {
                working_old.push(name(old));
                surge_nodes.push(node.clone());
            }
            // An old pod that does not work costs nothing to replace.
            (Some(old), None) => broken_old.push(name(old)),
            (Some(old), Some(new)) => {
                surging += 1;
                if available(new) {
                    plan.delete.push(name(old));
                }
            }
            _ => {}
        }
    }
    plan.delete.extend(broken_old);
    if fences.surge > 0 {
        plan.create.extend(surge_nodes.into_iter().take(fences.surge.saturating_sub(surging)));
    } else {
        plan.delete.extend(working_old.into_iter().take(fences.unavailable.saturating_sub(unavailable)));
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(name: &str, hash: &str, phase: &str, ready: bool) -> Arc<Pod> {
        Arc::new(
            serde_json::from_value(json!({"metadata": {"name": name, "labels": {"controller-revision-hash": hash}},
                "status": {"phase": phase, "conditions": [{"type": "Ready", "status": if ready {"True"} else {"False"}}]}}))
            .expect("valid"),
        )
    }

    fn seats(list: Vec<(&str, bool, Vec<Arc<Pod>>)>) -> BTreeMap<String, Seat> {
        list.into_iter()
            .map(|(node, should_run, pods)| (node.to_owned(), Seat { should_run, may_stay: should_run, pods }))
            .collect()
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
        let plan = manage(&seats, "1", false);
        assert_eq!(plan.create, ["empty"]);
        assert_eq!(plan.delete, ["c", "d", "e"]);
        assert_eq!(plan.failed, ["d"]);
    }

    #[test]
    fn an_update_stays_within_its_fences() {
        let seats = seats(vec![
            ("n1", true, vec![pod("a", "1", "Running", true)]),
            ("n2", true, vec![pod("b", "1", "Running", true)]),
            ("n3", true, vec![pod("c", "1", "Running", false)]),
            ("n4", true, vec![pod("d", "2", "Running", true)]),
        ]);
        let now = Timestamp::now();
        let one = roll(&seats, "2", Fences { surge: 0, unavailable: 1 }, 0, now);
        assert_eq!(one.delete, ["c"], "the broken one uses up the fence");
        let two = roll(&seats, "2", Fences { surge: 0, unavailable: 2 }, 0, now);
        assert_eq!(two.delete, ["c", "a"]);
        let surge = roll(&seats, "2", Fences { surge: 1, unavailable: 0 }, 0, now);
        assert_eq!((surge.create, surge.delete), (vec!["n1".to_owned()], vec!["c".to_owned()]));
    }
}

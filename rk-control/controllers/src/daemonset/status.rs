//! The numbers in the status of a DaemonSet.

use super::plan::{Seat, is_current};
use crate::pods;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus};
use std::collections::BTreeMap;
use std::time::Duration;

/// Counts nodes; also says when a ready pod becomes available by time alone.
pub(super) fn count(
    set: &DaemonSet,
    seats: &BTreeMap<String, Seat>,
    hash: &str,
    collisions: Option<i32>,
    now: Timestamp,
) -> (DaemonSetStatus, Option<Duration>) {
    let min_ready = set.spec.as_ref().and_then(|s| s.min_ready_seconds).unwrap_or(0);
    let mut status = DaemonSetStatus {
        observed_generation: set.metadata.generation,
        collision_count: collisions,
        ..DaemonSetStatus::default()
    };
    let (mut available, mut updated) = (0, 0);
    let mut recheck: Option<Duration> = None;
    for seat in seats.values() {
        let mut living: Vec<_> = seat.pods.iter().filter(|p| !pods::is_terminating(p)).collect();
        if !seat.should_run {
            status.number_misscheduled += i32::from(!living.is_empty());
            continue;
        }
        status.desired_number_scheduled += 1;
        if living.is_empty() {
            continue;
        }
        status.current_number_scheduled += 1;
        // Of two pods the one that works counts.
        living.sort_by_key(|p| (!pods::is_ready(p), p.metadata.creation_timestamp.as_ref().map(|t| t.0)));
        if let Some(pod) = living.first() {
            // A new pod beside an old one that serves in its place has not updated the node yet.
            updated += i32::from(is_current(pod, hash));
            status.number_ready += i32::from(pods::is_ready(pod));
            available += i32::from(pods::availability(pod, min_ready, now).0);
        }
        // Beside an old pod the one that is waited for is another.
        let left = living.iter().filter_map(|pod| pods::availability(pod, min_ready, now).1);
        recheck = recheck.into_iter().chain(left).min();
    }
    let nonzero = |n: i32| Some(n).filter(|n| *n != 0);
    status.number_available = nonzero(available);
    status.number_unavailable = nonzero(status.desired_number_scheduled - available);
    status.updated_number_scheduled = nonzero(updated);
    (status, recheck)
}

/// The status with the conditions that the set has by now: they are others', who may have written them since the counting began.
pub(super) fn beside(status: DaemonSetStatus, latest: &DaemonSet) -> DaemonSetStatus {
    DaemonSetStatus { conditions: latest.status.as_ref().and_then(|s| s.conditions.clone()), ..status }
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::{pod, seats, terms};
    use super::*;
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    #[test]
    fn a_new_pod_beside_an_old_one_is_waited_for() {
        let set: DaemonSet = serde_json::from_value(
            json!({"metadata": {}, "spec": {"minReadySeconds": 15, "selector": {}, "template": {}}}),
        )
        .expect("valid");
        let mut old = Pod::clone(&pod("old", "1", "Running", true));
        let ready = old.status.as_mut().and_then(|s| s.conditions.as_mut()).expect("conditions");
        ready[0].last_transition_time = Some(serde_json::from_value(json!("2025-01-01T00:00:00Z")).expect("a time"));
        let seats = seats(vec![("n", true, vec![old.into(), pod("new", "2", "Running", true)])]);
        let (status, recheck) = count(&set, &seats, "2", None, terms("2", 15).now);
        assert_eq!((status.number_available, recheck), (Some(1), Some(Duration::from_secs(5))));
    }

    #[test]
    fn a_node_is_updated_once_its_new_pod_serves() {
        let set: DaemonSet =
            serde_json::from_value(json!({"metadata": {}, "spec": {"selector": {}, "template": {}}})).expect("valid");
        for (old, new, updated) in [(true, false, None), (false, true, Some(1))] {
            let pods = vec![pod("old", "1", "Running", old), pod("new", "2", "Running", new)];
            let (status, _) = count(&set, &seats(vec![("n", true, pods)]), "2", None, Timestamp::now());
            assert_eq!((status.updated_number_scheduled, status.number_ready), (updated, 1));
        }
    }

    #[test]
    fn conditions_that_came_while_it_was_counted_stay() {
        let told = json!({"conditions": [{"type": "StatusUpdate", "status": "True"}], "currentNumberScheduled": 0,
            "desiredNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0});
        let latest: DaemonSet = serde_json::from_value(json!({"metadata": {}, "status": told})).expect("valid");
        let status = beside(DaemonSetStatus { number_ready: 3, ..DaemonSetStatus::default() }, &latest);
        let types: Vec<&str> = status.conditions.iter().flatten().map(|c| c.type_.as_str()).collect();
        assert_eq!((types, status.number_ready), (vec!["StatusUpdate"], 3));
    }
}

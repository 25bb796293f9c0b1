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
        updated += i32::from(living.iter().any(|p| is_current(p, hash)));
        if let Some(pod) = living.first() {
            status.number_ready += i32::from(pods::is_ready(pod));
            let (is_available, left) = pods::availability(pod, min_ready, now);
            available += i32::from(is_available);
            recheck = recheck.into_iter().chain(left).min();
        }
    }
    let nonzero = |n: i32| Some(n).filter(|n| *n != 0);
    status.number_available = nonzero(available);
    status.number_unavailable = nonzero(status.desired_number_scheduled - available);
    status.updated_number_scheduled = nonzero(updated);
    status.conditions = set.status.as_ref().and_then(|s| s.conditions.clone());
    (status, recheck)
}

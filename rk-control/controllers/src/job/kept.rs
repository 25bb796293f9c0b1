//! Failed pods that are kept from going.
//!
//! How often an index failed, and when, is told by its pods alone: the next one carries the count on. So the last failed one of an index
//! that waits for its next pod keeps its finalizer, though it was deleted, and is not noted, until that one is there (KEP-3850).

use super::ended::ended_at;
use super::tally::{Tally, count_failed, failures_of, index_of};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::JobSpec;
use k8s_openapi::api::core::v1::Pod;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Of the failed pods at indexes that count their failures, leaves in `kept` those that have to stay; the others may go.
pub(super) fn sort_out(spec: &JobSpec, tally: &mut Tally) {
    let failed = std::mem::take(&mut tally.kept);
    let active: BTreeSet<i32> = tally.active.iter().filter_map(|pod| index_of(pod)).collect();
    let waits = |index: &i32| {
        !active.contains(index) && !tally.succeeded_indexes.contains(index) && !tally.failed_indexes.contains(index)
    };
    let mut last: BTreeMap<i32, Arc<Pod>> = BTreeMap::new();
    for pod in &failed {
        let Some(index) = index_of(pod).filter(waits) else { continue };
        if last.get(&index).is_none_or(|known| rank(known) <= rank(pod)) {
            last.insert(index, Arc::clone(pod));
        }
    }
    for pod in failed {
        let known = index_of(&pod).and_then(|index| last.get(&index));
        if known.is_some_and(|known| Arc::ptr_eq(known, &pod)) {
            tally.kept.push(pod);
        } else {
            count_failed(spec, &pod, tally);
        }
    }
}

/// The Job is over: nothing comes after the pods that were kept.
pub(super) fn let_go(spec: &JobSpec, tally: &mut Tally) {
    for pod in std::mem::take(&mut tally.kept) {
        count_failed(spec, &pod, tally);
    }
}

/// The more failures it knows of, and the later it ended.
fn rank(pod: &Pod) -> (i32, Option<Timestamp>) {
    let (counted, ignored) = failures_of(pod);
    (counted + ignored, ended_at(pod))
}

#[cfg(test)]
mod tests {
    use super::super::tally::{FINALIZER, INDEX, INDEX_FAILURES, tally};
    use super::*;
    use k8s_openapi::api::batch::v1::Job;
    use serde_json::{Value, json};

    fn pod(uid: &str, index: &str, failures: &str, phase: &str) -> Arc<Pod> {
        let meta = json!({"name": uid, "uid": uid, "finalizers": [FINALIZER],
            "creationTimestamp": "2026-01-01T00:00:00Z", "annotations": {INDEX: index, INDEX_FAILURES: failures}});
        Arc::new(serde_json::from_value(json!({"metadata": meta, "status": {"phase": phase}})).expect("valid"))
    }

    /// Who may go and who stays.
    fn fate(more: Value, pods: &[Arc<Pod>]) -> (Vec<String>, Vec<String>) {
        let mut spec =
            json!({"template": {}, "completionMode": "Indexed", "completions": 3, "backoffLimitPerIndex": 2});
        json_patch::merge(&mut spec, &more);
        let job: Job = serde_json::from_value(json!({"spec": spec})).expect("valid");
        let seen = tally(&job, pods);
        let names = |pods: &[Arc<Pod>]| pods.iter().filter_map(|pod| pod.metadata.name.clone()).collect();
        (names(&seen.release), names(&seen.kept))
    }

    #[test]
    fn the_last_failed_pod_of_an_index_stays_until_the_next_is_there() {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let failed = [pod("a", "0", "0", "Failed"), pod("b", "0", "1", "Failed"), pod("c", "1", "2", "Failed")];
        assert_eq!(fate(json!({}), &failed), (texts(&["a", "c"]), texts(&["b"])), "index 1 has failed for good");
        let plain = json!({"backoffLimitPerIndex": null});
        assert_eq!(fate(plain, &failed), (texts(&["a", "b", "c"]), vec![]), "failures of indexes are not counted");
        for next in ["Running", "Succeeded"] {
            let more = [Arc::clone(&failed[1]), pod("d", "0", "2", next)];
            assert!(fate(json!({}), &more).1.is_empty(), "{next}");
        }
    }

    #[test]
    fn what_was_taken_away_is_no_failure_of_its_index() {
        let job: Job = serde_json::from_value(json!({"spec": {"template": {}, "completionMode": "Indexed",
            "completions": 3, "backoffLimitPerIndex": 2}}))
        .expect("valid");
        let mut leaving = Pod::clone(&pod("a", "0", "0", "Running"));
        leaving.metadata.deletion_timestamp = leaving.metadata.creation_timestamp.clone();
        let evicted = tally(&job, &[Arc::new(leaving.clone())]);
        assert_eq!((evicted.kept.len(), evicted.index_failures.get(&0)), (1, Some(&(1, 0))));
        leaving.metadata.finalizers = None;
        let released = tally(&job, &[Arc::new(leaving)]);
        assert!(released.index_failures.is_empty() && released.retry_at.is_empty());
    }

    #[test]
    fn who_is_kept_is_counted_when_it_goes() {
        let job: Job = serde_json::from_value(json!({"spec": {"template": {}, "completionMode": "Indexed",
            "completions": 3, "backoffLimitPerIndex": 2}}))
        .expect("valid");
        let mut seen = tally(&job, &[pod("a", "0", "0", "Failed")]);
        assert_eq!((seen.failed, seen.uncounted.failed.is_none(), seen.release.len()), (1, true, 0));
        let_go(&job.spec.clone().unwrap_or_default(), &mut seen);
        assert_eq!((seen.uncounted.failed, seen.release.len(), seen.kept.len()), (Some(vec!["a".to_owned()]), 1, 0));
    }

    #[test]
    fn those_who_are_kept_take_no_room_from_others() {
        let mut many: Vec<Arc<Pod>> = (0..600).map(|at| pod(&at.to_string(), &at.to_string(), "0", "Failed")).collect();
        many.push(pod("done", "600", "0", "Succeeded"));
        let job: Job = serde_json::from_value(json!({"spec": {"template": {}, "completionMode": "Indexed",
            "completions": 601, "backoffLimitPerIndex": 2}}))
        .expect("valid");
        let seen = tally(&job, &many);
        assert_eq!((seen.kept.len(), seen.failed, seen.succeeded), (600, 600, 1));
    }
}

//! Which indexes of an indexed Job wait for a pod, and which pods are at an index that is not theirs to take.

use super::tally::{Tally, index_of, is_indexed};
use crate::pods;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::JobSpec;
use k8s_openapi::api::core::v1::Pod;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Whether a pod is replaced only once it has ended, not as soon as it is on its way out (KEP-3939).
pub(super) fn replaces_late(spec: &JobSpec) -> bool {
    spec.pod_replacement_policy.as_deref() == Some("Failed") || spec.pod_failure_policy.is_some()
}

/// Whether the Job has this index. Those beyond are left when it is made smaller.
pub(super) fn has_index(spec: &JobSpec, index: i32) -> bool {
    (0..spec.completions.unwrap_or(0)).contains(&index)
}

/// The indexes that wait for a pod.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Vacancies {
    /// Those that may have one now, lowest first.
    pub(super) now: Vec<i32>,
    /// How long the first of the others has to wait after its failures.
    pub(super) wait: Option<Duration>,
}

impl Vacancies {
    /// Finds `count` indexes, or fewer if there are no more.
    pub(super) fn of(spec: &JobSpec, tally: &Tally, count: usize, now: Timestamp) -> Self {
        let mut taken: BTreeSet<i32> = tally.active.iter().filter_map(|pod| index_of(pod)).collect();
        if replaces_late(spec) {
            taken.extend(&tally.terminating_indexes);
        }
        let open = |index: &i32| {
            !taken.contains(index) && !tally.succeeded_indexes.contains(index) && !tally.failed_indexes.contains(index)
        };
        let mut vacancies = Self::default();
        for index in (0..spec.completions.unwrap_or(0)).filter(open) {
            if vacancies.now.len() >= count {
                break;
            }
            let left = tally.retry_at.get(&index).map_or(SignedDuration::ZERO, |at| at.duration_since(now));
            if left <= SignedDuration::ZERO {
                vacancies.now.push(index);
            } else {
                let left = left.unsigned_abs();
                vacancies.wait = Some(vacancies.wait.map_or(left, |first| first.min(left)));
            }
        }
        vacancies
    }
}

/// Uids of the active pods whose index is none of the Job's, or has a pod already: they go before all others.
pub(super) fn misplaced(spec: &JobSpec, active: &[Arc<Pod>]) -> BTreeSet<String> {
    if !is_indexed(spec) {
        return BTreeSet::new();
    }
    let mut by_worth: Vec<&Arc<Pod>> = active.iter().collect();
    by_worth.sort_by_key(|pod| (!pods::is_ready(pod), pod.metadata.creation_timestamp.as_ref().map(|at| at.0)));
    let mut seen = BTreeSet::new();
    by_worth.retain(|pod| index_of(pod).is_none_or(|index| !has_index(spec, index) || !seen.insert(index)));
    by_worth.iter().filter_map(|pod| pod.metadata.uid.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tally::INDEX;
    use super::*;
    use serde_json::{Value, json};
    use std::collections::BTreeMap;

    fn spec(more: Value) -> JobSpec {
        let mut base = json!({"template": {}, "completions": 4, "completionMode": "Indexed"});
        json_patch::merge(&mut base, &more);
        serde_json::from_value(base).expect("valid")
    }

    fn pod(uid: &str, index: Option<&str>, ready: bool) -> Arc<Pod> {
        let notes = index.map_or_else(|| json!({}), |index| json!({INDEX: index}));
        let ready = if ready { "True" } else { "False" };
        let status = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]});
        let pod = json!({"metadata": {"name": uid, "uid": uid, "annotations": notes}, "status": status});
        Arc::new(serde_json::from_value(pod).expect("valid"))
    }

    #[test]
    fn an_index_whose_pod_is_leaving_is_free_unless_replacements_wait_for_its_end() {
        let tally = Tally {
            active: vec![pod("a", Some("0"), true)],
            terminating_indexes: BTreeSet::from([1]),
            succeeded_indexes: BTreeSet::from([2]),
            ..Tally::default()
        };
        let free = |more: Value| Vacancies::of(&spec(more), &tally, 9, Timestamp::now()).now;
        assert_eq!(free(json!({})), [1, 3]);
        assert_eq!(free(json!({"podReplacementPolicy": "Failed"})), [3]);
        assert_eq!(free(json!({"podFailurePolicy": {"rules": []}})), [3]);
        assert_eq!(Vacancies::of(&spec(json!({})), &tally, 1, Timestamp::now()).now, [1], "no more than asked for");
    }

    #[test]
    fn an_index_that_failed_waits_and_the_others_do_not() {
        let now: Timestamp = "2026-01-01T00:00:10Z".parse().expect("time");
        let at = |text: &str| -> Timestamp { text.parse().expect("time") };
        let tally = Tally {
            retry_at: BTreeMap::from([
                (0, at("2026-01-01T00:00:30Z")),
                (1, at("2026-01-01T00:00:10Z")),
                (2, at("2026-01-01T00:00:15Z")),
            ]),
            ..Tally::default()
        };
        let found = Vacancies::of(&spec(json!({})), &tally, 9, now);
        assert_eq!(found, Vacancies { now: vec![1, 3], wait: Some(Duration::from_secs(5)) });
    }

    #[test]
    fn pods_beyond_the_indexes_and_doubles_go_first() {
        let active = [
            pod("beyond", Some("4"), true),
            pod("double", Some("1"), false),
            pod("good", Some("1"), true),
            pod("none", None, true),
            pod("zero", Some("0"), false),
        ];
        let uids = misplaced(&spec(json!({})), &active);
        assert_eq!(uids.iter().map(String::as_str).collect::<Vec<_>>(), ["beyond", "double", "none"]);
        assert!(misplaced(&spec(json!({"completionMode": "NonIndexed"})), &active).is_empty());
    }
}

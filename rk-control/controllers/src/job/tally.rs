//! Counting pods of a Job exactly once.
//!
//! A finished pod keeps its finalizer until it is counted. Its uid is first noted in the status, then the finalizer is
//! removed, and once that is seen the uid becomes a number: whatever crashes in between, no pod is lost or counted
//! twice (KEP-2307).

use super::backoff::{Ends, backoff_after};
use super::ended::ended_at;
use super::indexes;
use super::kept;
use super::policy::{self, Verdict};
use super::vacancy::{has_index, replaces_late};
use crate::discovery::has_finalizer;
use crate::pods;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobSpec, JobStatus, UncountedTerminatedPods};
use k8s_openapi::api::core::v1::Pod;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(super) const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
pub(super) const INDEX: &str = "batch.kubernetes.io/job-completion-index";
pub(super) const INDEX_FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
pub(super) const INDEX_IGNORED: &str = "batch.kubernetes.io/job-index-ignored-failure-count";
/// Uids noted at once; the status must stay small.
const MAX_NOTED: usize = 500;

/// What there is, after counting.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) active: Vec<Arc<Pod>>,
    pub(super) ready: i32,
    pub(super) terminating: i32,
    /// The indexes of those.
    pub(super) terminating_indexes: BTreeSet<i32>,
    pub(super) succeeded: i32,
    pub(super) failed: i32,
    pub(super) succeeded_indexes: BTreeSet<i32>,
    pub(super) failed_indexes: BTreeSet<i32>,
    /// Failures of each index so far, as its next pod must carry them: (counted, ignored).
    pub(super) index_failures: BTreeMap<i32, (i32, i32)>,
    /// When an index that failed may have its next pod, under limits per index.
    pub(super) retry_at: BTreeMap<i32, Timestamp>,
    /// Reason why the failure policy ends the Job.
    pub(super) fail_job: Option<String>,
    pub(super) uncounted: UncountedTerminatedPods,
    pub(super) counted_succeeded: i32,
    pub(super) counted_failed: i32,
    /// Noted pods whose finalizer may go.
    pub(super) release: Vec<Arc<Pod>>,
    /// Failed pods that are not noted, and whose finalizer stays, as long as the Job goes on.
    pub(super) kept: Vec<Arc<Pod>>,
    /// For the back-off of a Job without limits per index.
    pub(super) ends: Ends,
}

pub(super) fn is_indexed(spec: &JobSpec) -> bool {
    spec.completion_mode.as_deref() == Some("Indexed")
}

pub(super) fn index_of(pod: &Pod) -> Option<i32> {
    pod.metadata.annotations.as_ref()?.get(INDEX)?.parse().ok()
}

fn note_of(pod: &Pod, name: &str) -> i32 {
    pod.metadata.annotations.as_ref().and_then(|a| a.get(name)).and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// Failures of its index that came before the pod, as it carries them: (counted, ignored).
pub(super) fn failures_of(pod: &Pod) -> (i32, i32) {
    (note_of(pod, INDEX_FAILURES), note_of(pod, INDEX_IGNORED))
}

/// A pod that is being deleted counts as failed once it ends; before, only if replacements need not wait for it.
fn has_failed(spec: &JobSpec, pod: &Pod) -> bool {
    let early = pods::is_terminating(pod) && !replaces_late(spec);
    pods::phase(pod) == "Failed" || (early && pods::phase(pod) != "Succeeded")
}

/// Counts the pods of a Job, with the status so far.
pub(super) fn tally(job: &Job, owned: &[Arc<Pod>]) -> Tally {
    let spec = job.spec.clone().unwrap_or_default();
    let status = job.status.clone().unwrap_or_default();
    let completions = spec.completions.unwrap_or(i32::MAX);
    let mut tally = Tally {
        succeeded_indexes: indexes::parse(status.completed_indexes.as_deref().unwrap_or_default(), completions),
        failed_indexes: indexes::parse(status.failed_indexes.as_deref().unwrap_or_default(), completions),
        ..Tally::default()
    };
    settle(&status, owned, &mut tally);
    for pod in owned {
        let noted = is_noted(&tally.uncounted, pod);
        if !noted
            && has_finalizer(&pod.metadata, FINALIZER)
            && (pods::phase(pod) == "Succeeded" || has_failed(&spec, pod))
        {
            note(&spec, pod, &mut tally);
        }
        if is_noted(&tally.uncounted, pod) && has_finalizer(&pod.metadata, FINALIZER) {
            tally.release.push(Arc::clone(pod));
        }
        remember_end(pod, &spec, &mut tally);
        if pods::is_active(pod) {
            tally.ready += i32::from(pods::is_ready(pod));
            tally.active.push(Arc::clone(pod));
        } else if pods::is_terminating(pod) && !pods::is_finished(pod) {
            tally.terminating += 1;
            tally.terminating_indexes.extend(index_of(pod));
        }
    }
    kept::sort_out(&spec, &mut tally);
    let noted = |list: &Option<Vec<String>>| list.as_ref().map_or(0, |l| l.len() as i32);
    let indexed = is_indexed(&spec);
    if indexed {
        // As many as are told: those of indexes that a smaller Job has no more count for nothing.
        tally.counted_succeeded = tally.succeeded_indexes.len() as i32;
        tally.succeeded = tally.counted_succeeded;
    } else {
        tally.succeeded = tally.counted_succeeded + noted(&tally.uncounted.succeeded);
    }
    let kept = tally.kept.iter().filter(|pod| policy::judge(&spec, pod) != Verdict::Ignore).count() as i32;
    tally.failed = tally.counted_failed + noted(&tally.uncounted.failed) + kept;
    tally
}

fn is_noted(uncounted: &UncountedTerminatedPods, pod: &Pod) -> bool {
    let uid = pod.metadata.uid.as_ref();
    uncounted.succeeded.iter().chain(&uncounted.failed).flatten().any(|u| Some(u) == uid)
}

/// Uids whose pods have lost their finalizer become numbers.
fn settle(status: &JobStatus, owned: &[Arc<Pod>], tally: &mut Tally) {
    let held: BTreeSet<&String> = owned
        .iter()
        .filter(|p| has_finalizer(&p.metadata, FINALIZER))
        .filter_map(|p| p.metadata.uid.as_ref())
        .collect();
    let noted = status.uncounted_terminated_pods.clone().unwrap_or_default();
    let split = |list: Option<Vec<String>>| -> (Vec<String>, i32) {
        let (open, done): (Vec<String>, Vec<String>) =
            list.unwrap_or_default().into_iter().partition(|uid| held.contains(uid));
        (open, done.len() as i32)
    };
    let (succeeded, more_succeeded) = split(noted.succeeded);
    let (failed, more_failed) = split(noted.failed);
    tally.counted_succeeded = status.succeeded.unwrap_or(0) + more_succeeded;
    tally.counted_failed = status.failed.unwrap_or(0) + more_failed;
    let some = |list: Vec<String>| Some(list).filter(|l| !l.is_empty());
    tally.uncounted = UncountedTerminatedPods { succeeded: some(succeeded), failed: some(failed) };
}

fn note(spec: &JobSpec, pod: &Arc<Pod>, tally: &mut Tally) {
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    if noted_now(tally) >= MAX_NOTED {
        return;
    }
    let index = index_of(pod).filter(|_| is_indexed(spec));
    if is_indexed(spec) && index.is_none_or(|index| !has_index(spec, index)) {
        // Of an index that the Job does not have, or no more: it counts for nothing.
        tally.release.push(Arc::clone(pod));
        return;
    }
    if pods::phase(pod) == "Succeeded" {
        if let Some(index) = index {
            // A second pod of an index that is done already changes nothing.
            if tally.succeeded_indexes.insert(index) {
                tally.uncounted.succeeded.get_or_insert_default().push(uid);
            } else {
                tally.release.push(Arc::clone(pod));
            }
            return;
        }
        tally.uncounted.succeeded.get_or_insert_default().push(uid);
        return;
    }
    let counts_failures = index.is_some() && spec.backoff_limit_per_index.is_some();
    match policy::judge(spec, pod) {
        Verdict::Ignore if counts_failures => {}
        Verdict::Ignore => {
            tally.release.push(Arc::clone(pod));
            return;
        }
        Verdict::FailJob(why) => {
            tally.fail_job.get_or_insert(why);
        }
        Verdict::FailIndex => tally.failed_indexes.extend(index.filter(|_| spec.backoff_limit_per_index.is_some())),
        Verdict::Count => {
            if let (Some(index), Some(limit)) = (index, spec.backoff_limit_per_index)
                && note_of(pod, INDEX_FAILURES) >= limit
            {
                tally.failed_indexes.insert(index);
            }
        }
    }
    if counts_failures {
        // Whether it may go is known when all pods are seen.
        tally.kept.push(Arc::clone(pod));
        return;
    }
    tally.uncounted.failed.get_or_insert_default().push(uid);
}

fn noted_now(tally: &Tally) -> usize {
    tally.uncounted.succeeded.as_ref().map_or(0, Vec::len) + tally.uncounted.failed.as_ref().map_or(0, Vec::len)
}

/// Lets a failed pod go, once its uid is noted if its failure counts. While there is no room for that it stays.
pub(super) fn count_failed(spec: &JobSpec, pod: &Arc<Pod>, tally: &mut Tally) {
    if policy::judge(spec, pod) != Verdict::Ignore {
        if noted_now(tally) >= MAX_NOTED {
            return;
        }
        tally.uncounted.failed.get_or_insert_default().push(pod.metadata.uid.clone().unwrap_or_default());
    }
    tally.release.push(Arc::clone(pod));
}

fn remember_end(pod: &Pod, spec: &JobSpec, tally: &mut Tally) {
    // What was let go before it ended was one too many, or has failed by being deleted: how it ends then changes nothing.
    if pods::is_terminating(pod) && !has_finalizer(&pod.metadata, FINALIZER) {
        return;
    }
    let ended = ended_at(pod);
    if pods::phase(pod) == "Succeeded" {
        ended.into_iter().for_each(|at| tally.ends.succeed(at));
    }
    if !has_failed(spec, pod) {
        return;
    }
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    ended.into_iter().for_each(|at| tally.ends.fail(uid, at));
    if let Some(index) = index_of(pod) {
        let ignored = policy::judge(spec, pod) == Verdict::Ignore;
        let (counted, skipped) = failures_of(pod);
        let next = if ignored { (counted, skipped + 1) } else { (counted + 1, skipped) };
        let known = tally.index_failures.entry(index).or_insert(next);
        *known = (known.0.max(next.0), known.1.max(next.1));
        let retry =
            ended.and_then(|at| at.checked_add(backoff_after(usize::try_from(next.0 + next.1).unwrap_or(0))).ok());
        if let Some(retry) = retry.filter(|_| spec.backoff_limit_per_index.is_some()) {
            let known = tally.retry_at.entry(index).or_insert(retry);
            *known = retry.max(*known);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn job(spec: Value, status: Value) -> Job {
        let mut base = json!({"template": {}});
        json_patch::merge(&mut base, &spec);
        serde_json::from_value(json!({"spec": base, "status": status})).expect("valid")
    }

    fn pod(uid: &str, phase: &str, finalizer: bool, annotations: Value) -> Arc<Pod> {
        Arc::new(
            serde_json::from_value(json!({"metadata": {"name": uid, "uid": uid, "annotations": annotations,
                "finalizers": finalizer.then_some([FINALIZER])}, "status": {"phase": phase}}))
            .expect("valid"),
        )
    }

    #[test]
    fn a_finished_pod_is_noted_then_released_then_counted() {
        let fresh = tally(&job(json!({}), json!({})), &[pod("a", "Succeeded", true, json!({}))]);
        assert_eq!((fresh.succeeded, fresh.counted_succeeded, fresh.release.len()), (1, 0, 1));
        let noted = json!({"uncountedTerminatedPods": {"succeeded": ["a"]}});
        let held = tally(&job(json!({}), noted.clone()), &[pod("a", "Succeeded", true, json!({}))]);
        assert_eq!((held.succeeded, held.counted_succeeded, held.release.len()), (1, 0, 1));
        let released = tally(&job(json!({}), noted.clone()), &[pod("a", "Succeeded", false, json!({}))]);
        assert_eq!((released.succeeded, released.counted_succeeded), (1, 1));
        let gone = tally(&job(json!({}), noted), &[]);
        assert_eq!((gone.succeeded, gone.counted_succeeded), (1, 1));
        let later = tally(&job(json!({}), json!({"succeeded": 1})), &[pod("a", "Succeeded", false, json!({}))]);
        assert_eq!(later.succeeded, 1, "never twice");
    }

    #[test]
    fn an_indexed_job_counts_the_indexes_that_it_has() {
        let counted = |completions: i32, pods: &[Arc<Pod>]| {
            let spec = json!({"completionMode": "Indexed", "completions": completions});
            let seen = tally(&job(spec, json!({"succeeded": 1, "completedIndexes": "1"})), pods);
            (seen.counted_succeeded, seen.succeeded)
        };
        assert_eq!(counted(3, &[]), (1, 1));
        assert_eq!(counted(1, &[]), (0, 0), "the index is beyond those of a Job that was made smaller");
        let next = [pod("a", "Succeeded", true, json!({INDEX: "0"}))];
        assert_eq!(counted(1, &next), (1, 1));
        assert_eq!(counted(2, &next), (2, 2), "told together with the index");
    }

    #[test]
    fn an_index_fails_when_its_own_limit_is_used_up() {
        let spec = json!({"completionMode": "Indexed", "completions": 3, "backoffLimitPerIndex": 1});
        let first =
            tally(&job(spec.clone(), json!({})), &[pod("a", "Failed", true, json!({INDEX: "1", INDEX_FAILURES: "0"}))]);
        assert!(first.failed_indexes.is_empty());
        assert_eq!(first.index_failures.get(&1), Some(&(1, 0)));
        let second = tally(
            &job(spec, json!({"failed": 1})),
            &[pod("b", "Failed", true, json!({INDEX: "1", INDEX_FAILURES: "1"}))],
        );
        assert_eq!(second.failed_indexes, BTreeSet::from([1]));
        assert_eq!(second.failed, 2);
    }

    #[test]
    fn what_ended_at_no_index_of_the_job_counts_for_nothing() {
        let spec = json!({"completionMode": "Indexed", "completions": 2});
        let strays = [pod("a", "Succeeded", true, json!({INDEX: "2"})), pod("b", "Failed", true, json!({}))];
        let seen = tally(&job(spec, json!({})), &strays);
        assert_eq!((seen.succeeded, seen.failed, seen.release.len()), (0, 0, 2));
    }

    #[test]
    fn a_failed_index_waits_from_the_end_of_its_pod() {
        let failed = |name: &str, failures: &str, meta: Value, statuses: Value| -> Arc<Pod> {
            let mut pod = json!({"metadata": {"name": name, "uid": name, "finalizers": [FINALIZER],
                    "annotations": {INDEX: "0", INDEX_FAILURES: failures}},
                "status": {"phase": "Failed", "containerStatuses": statuses}});
            json_patch::merge(&mut pod, &json!({"metadata": meta}));
            Arc::new(serde_json::from_value(pod).expect("valid"))
        };
        let container = |at: &str| {
            json!([{"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"terminated": {"exitCode": 1, "finishedAt": at}}}])
        };
        let at = |text: &str| -> Timestamp { text.parse().expect("time") };
        let spec = json!({"completionMode": "Indexed", "completions": 1, "backoffLimitPerIndex": 5});
        let pods = [
            failed("a", "0", json!({}), container("2026-01-01T00:00:00Z")),
            failed("b", "1", json!({}), container("2026-01-01T00:00:20Z")),
        ];
        let seen = tally(&job(spec.clone(), json!({})), &pods);
        assert_eq!(seen.retry_at, BTreeMap::from([(0, at("2026-01-01T00:00:40Z"))]));
        let told = json!({"creationTimestamp": "2026-01-01T00:00:00Z", "deletionTimestamp": "2026-01-01T00:01:30Z",
            "deletionGracePeriodSeconds": 30});
        let seen = tally(&job(spec.clone(), json!({})), &[failed("a", "0", told, Value::Null)]);
        let wait = |seen: Tally, seconds: &str| {
            seen.ends.wait(at(&format!("2026-01-01T00:{seconds}Z"))).map(|left| left.as_secs())
        };
        assert_eq!(wait(seen, "01:04"), Some(6));
        let refused = failed("a", "0", json!({"creationTimestamp": "2026-01-01T00:00:00Z"}), Value::Null);
        assert_eq!(wait(tally(&job(spec.clone(), json!({})), &[refused]), "00:04"), Some(6));
        let let_go = json!({"creationTimestamp": "2026-01-01T00:00:00Z", "deletionTimestamp": "2026-01-01T00:01:30Z", "finalizers": null});
        let excess = failed("a", "0", let_go, container("2026-01-01T00:00:00Z"));
        let mut obedient = Pod::clone(&excess);
        obedient.status.as_mut().expect("a status").phase = Some("Succeeded".to_owned());
        let seen = tally(&job(spec.clone(), json!({})), &[Arc::new(obedient)]);
        assert_eq!(seen.ends, Ends::default(), "it has failed by being deleted, and forgives nothing");
        assert_eq!(wait(tally(&job(spec, json!({})), &[excess]), "00:04"), None, "the Job itself deleted it");
    }
}

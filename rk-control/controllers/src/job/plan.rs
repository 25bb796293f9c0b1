//! Whether a Job is over, and if not how many pods it needs now.

use super::policy;
use super::tally::{Tally, is_indexed};
use super::vacancy::{Vacancies, misplaced, replaces_late};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use std::time::Duration;

/// The end of a Job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    Complete { reason: &'static str, message: String },
    Failed { reason: &'static str, message: String },
}

fn failed(reason: &'static str, message: impl Into<String>) -> Option<End> {
    Some(End::Failed { reason, message: message.into() })
}

/// Decides whether the Job is over. `started` is when it (last) started.
pub(super) fn end(job: &Job, tally: &Tally, started: Option<Timestamp>, now: Timestamp) -> Option<End> {
    let spec = job.spec.clone().unwrap_or_default();
    if let Some(why) = &tally.fail_job {
        return failed("PodFailurePolicy", why.clone());
    }
    let limit = spec.backoff_limit.unwrap_or(6);
    let restarts: i32 = tally.active.iter().map(|p| restarts(p)).sum();
    let in_place = spec.template.spec.as_ref().and_then(|s| s.restart_policy.as_deref()) == Some("OnFailure");
    if tally.failed > limit || (in_place && restarts >= limit.max(1)) {
        return failed("BackoffLimitExceeded", "Job has reached the specified backoff limit");
    }
    let deadline = spec.active_deadline_seconds.and_then(|s| started?.checked_add(SignedDuration::from_secs(s)).ok());
    if spec.suspend != Some(true) && deadline.is_some_and(|d| now >= d) {
        return failed("DeadlineExceeded", "Job was active longer than specified deadline");
    }
    if is_indexed(&spec) {
        if let Some(most) = spec.max_failed_indexes
            && tally.failed_indexes.len() > usize::try_from(most).unwrap_or(0)
        {
            return failed(
                "MaxFailedIndexesExceeded",
                "Job has exceeded the specified maximal number of failed indexes",
            );
        }
        let completions = spec.completions.unwrap_or(0);
        let over = tally.succeeded_indexes.len() + tally.failed_indexes.difference(&tally.succeeded_indexes).count();
        if !tally.failed_indexes.is_empty() && over >= usize::try_from(completions).unwrap_or(0) {
            return failed("FailedIndexes", "Job has failed indexes");
        }
        // What failed for good is not mended by what succeeded beside it.
        if let Some(message) = policy::success(&spec, &tally.succeeded_indexes) {
            return Some(End::Complete { reason: "SuccessPolicy", message });
        }
    }
    let reached = match spec.completions {
        // Work-queue Jobs end when one pod succeeded and the others came to an end.
        None => tally.succeeded > 0 && tally.active.is_empty(),
        Some(completions) => tally.succeeded >= completions,
    };
    reached.then(|| End::Complete {
        reason: "CompletionsReached",
        message: "Reached expected number of succeeded pods".to_owned(),
    })
}

fn restarts(pod: &k8s_openapi::api::core::v1::Pod) -> i32 {
    let status = pod.status.as_ref();
    let containers = status
        .into_iter()
        .flat_map(|s| s.container_statuses.iter().flatten().chain(s.init_container_statuses.iter().flatten()));
    containers.map(|c| c.restart_count).sum()
}

/// What to do about the number of pods.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Size {
    Keep,
    Create(usize),
    Delete(usize),
    /// Make more, but not before this much time has passed.
    Wait(Duration),
}

/// Compares active pods with what parallelism and completions ask for.
pub(super) fn size(job: &Job, tally: &Tally, now: Timestamp) -> Size {
    let spec = job.spec.clone().unwrap_or_default();
    let active = tally.active.len();
    if spec.suspend == Some(true) {
        return if active > 0 { Size::Delete(active) } else { Size::Keep };
    }
    let parallelism = usize::try_from(spec.parallelism.unwrap_or(1)).unwrap_or(0);
    let wanted = match spec.completions {
        None if tally.succeeded > 0 => active.min(parallelism),
        None => parallelism,
        Some(completions) => {
            let over = tally.succeeded + if is_indexed(&spec) { tally.failed_indexes.len() as i32 } else { 0 };
            parallelism.min(usize::try_from(completions - over).unwrap_or(0))
        }
    };
    let excess = active.saturating_sub(wanted).max(misplaced(&spec, &tally.active).len());
    if excess > 0 {
        return Size::Delete(excess);
    }
    // Pods on their way out take places only if replacements must wait for them.
    let leaving = if replaces_late(&spec) { usize::try_from(tally.terminating).unwrap_or(0) } else { 0 };
    let missing = wanted.saturating_sub(active + leaving);
    if missing == 0 {
        return Size::Keep;
    }
    // With limits per index, each index backs off on its own.
    if spec.backoff_limit_per_index.is_some() {
        let free = Vacancies::of(&spec, tally, missing, now);
        return match (free.now.len(), free.wait) {
            (0, None) => Size::Keep,
            (0, Some(left)) => Size::Wait(left),
            (count, _) => Size::Create(count),
        };
    }
    tally.ends.wait(now).map_or(Size::Create(missing), Size::Wait)
}

#[cfg(test)]
mod tests {
    use super::super::backoff::{Ends, backoff_after};
    use super::*;
    use serde_json::{Value, json};
    use std::collections::BTreeSet;
    use std::sync::Arc;

    fn job(spec: Value) -> Job {
        let mut base = json!({"template": {}});
        json_patch::merge(&mut base, &spec);
        serde_json::from_value(json!({"spec": base})).expect("valid")
    }

    fn active(count: usize) -> Vec<Arc<k8s_openapi::api::core::v1::Pod>> {
        vec![Arc::default(); count]
    }

    #[test]
    fn a_job_ends_for_the_first_reason_that_holds() {
        let now: Timestamp = "2026-01-01T01:00:00Z".parse().expect("time");
        let started = Some("2026-01-01T00:00:00Z".parse().expect("time"));
        let reason = |spec: Value, tally: Tally| {
            end(&job(spec), &tally, started, now).map(|e| match e {
                End::Complete { reason, .. } | End::Failed { reason, .. } => reason,
            })
        };
        let tally = |succeeded, failed| Tally { succeeded, failed, ..Tally::default() };
        assert_eq!(reason(json!({"completions": 2}), tally(1, 0)), None);
        assert_eq!(reason(json!({"completions": 2}), tally(2, 0)), Some("CompletionsReached"));
        assert_eq!(reason(json!({}), Tally { active: active(1), ..tally(1, 0) }), None);
        assert_eq!(reason(json!({}), tally(1, 0)), Some("CompletionsReached"));
        assert_eq!(reason(json!({"backoffLimit": 1, "completions": 2}), tally(0, 2)), Some("BackoffLimitExceeded"));
        assert_eq!(
            reason(json!({"activeDeadlineSeconds": 60, "completions": 2}), tally(0, 0)),
            Some("DeadlineExceeded")
        );
        let indexed =
            json!({"completions": 2, "completionMode": "Indexed", "backoffLimitPerIndex": 0, "backoffLimit": 100});
        let half = Tally { succeeded_indexes: BTreeSet::from([0]), failed_indexes: BTreeSet::from([1]), ..tally(1, 1) };
        assert_eq!(reason(indexed, half), Some("FailedIndexes"));
        let enough = json!({"completions": 3, "completionMode": "Indexed", "backoffLimitPerIndex": 0, "maxFailedIndexes": 1,
            "backoffLimit": 100, "successPolicy": {"rules": [{"succeededCount": 1}]}});
        for (failed, expected) in [(vec![1], "SuccessPolicy"), (vec![1, 2], "MaxFailedIndexesExceeded")] {
            let succeeded_indexes = BTreeSet::from([0]);
            let failed_indexes = failed.into_iter().collect();
            let tally = Tally { succeeded_indexes, failed_indexes, ..tally(1, 1) };
            assert_eq!(reason(enough.clone(), tally), Some(expected));
        }
    }

    #[test]
    fn parallelism_completions_and_back_off_size_a_job() {
        let now: Timestamp = "2026-01-01T00:00:05Z".parse().expect("time");
        let tally = |n, succeeded| Tally { active: active(n), succeeded, ..Tally::default() };
        assert_eq!(size(&job(json!({"parallelism": 3, "completions": 5})), &tally(1, 0), now), Size::Create(2));
        assert_eq!(size(&job(json!({"parallelism": 3, "completions": 5})), &tally(0, 4), now), Size::Create(1));
        assert_eq!(size(&job(json!({"parallelism": 1, "completions": 5})), &tally(3, 0), now), Size::Delete(2));
        assert_eq!(size(&job(json!({"parallelism": 2})), &tally(1, 1), now), Size::Keep);
        assert_eq!(size(&job(json!({"parallelism": 2, "suspend": true})), &tally(2, 0), now), Size::Delete(2));
        let mut ends = Ends::default();
        ends.fail("a", "2026-01-01T00:00:00Z".parse().expect("time"));
        let broken = Tally { failed: 1, ends, ..Tally::default() };
        assert_eq!(size(&job(json!({"completions": 1})), &broken, now), Size::Wait(Duration::from_secs(5)));
        let replaced_late = Tally { terminating: 1, ..Tally::default() };
        assert_eq!(
            size(&job(json!({"completions": 1, "podReplacementPolicy": "Failed"})), &replaced_late, now),
            Size::Keep
        );
    }

    #[test]
    fn each_index_backs_off_on_its_own() {
        let now: Timestamp = "2026-01-01T00:00:05Z".parse().expect("time");
        let indexed = job(json!({"completions": 2, "parallelism": 2, "completionMode": "Indexed",
            "backoffLimitPerIndex": 3}));
        let failed_once = Tally { failed: 1, retry_at: [(0, now + backoff_after(1))].into(), ..Tally::default() };
        assert_eq!(size(&indexed, &failed_once, now), Size::Create(1), "the other index");
        let done = Tally { succeeded: 1, succeeded_indexes: BTreeSet::from([1]), ..failed_once };
        assert_eq!(size(&indexed, &done, now), Size::Wait(Duration::from_secs(10)));
        assert_eq!(size(&indexed, &done, now + backoff_after(1)), Size::Create(1));
    }
}

//! The status and conditions of a Job.

use super::indexes;
use super::plan::End;
use super::tally::{Tally, is_indexed};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

pub(crate) fn has(status: &JobStatus, type_: &str) -> bool {
    status.conditions.iter().flatten().any(|c| c.type_ == type_ && c.status == "True")
}

/// Complete or Failed for good.
pub(crate) fn is_finished(job: &Job) -> bool {
    job.status.as_ref().is_some_and(|s| has(s, "Complete") || has(s, "Failed"))
}

fn set(status: &mut JobStatus, type_: &str, value: bool, reason: &str, message: &str, now: Timestamp) -> bool {
    let value = if value { "True" } else { "False" };
    let all = status.conditions.get_or_insert_default();
    if all.iter().any(|c| c.type_ == type_ && c.status == value) {
        return false;
    }
    all.retain(|c| c.type_ != type_);
    all.push(JobCondition {
        type_: type_.to_owned(),
        status: value.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_probe_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    });
    true
}

/// Copies the counts.
pub(super) fn count(job: &Job, tally: &Tally) -> JobStatus {
    let mut status = job.status.clone().unwrap_or_default();
    let nonzero = |n: i32| Some(n).filter(|n| *n != 0);
    status.active = nonzero(tally.active.len() as i32);
    status.ready = Some(tally.ready);
    status.terminating = Some(tally.terminating);
    status.succeeded = nonzero(tally.counted_succeeded);
    status.failed = nonzero(tally.counted_failed);
    status.uncounted_terminated_pods = Some(tally.uncounted.clone());
    if job.spec.as_ref().is_some_and(is_indexed) {
        status.completed_indexes = Some(indexes::format(&tally.succeeded_indexes)).filter(|t| !t.is_empty());
        if job.spec.as_ref().is_some_and(|s| s.backoff_limit_per_index.is_some()) {
            // One that succeeded after all is not among those that failed.
            status.failed_indexes = Some(indexes::format(&(&tally.failed_indexes - &tally.succeeded_indexes)));
        }
    }
    status
}

/// Events that a change of status calls for: (is a warning, reason, message).
pub(super) type Notices = Vec<(bool, &'static str, String)>;

/// Start time and the Suspended condition, which a Job that is over does not get any more.
pub(super) fn note_suspension(job: &Job, status: &mut JobStatus, is_over: bool, now: Timestamp) -> Notices {
    let mut notices = Notices::new();
    let suspended = job.spec.as_ref().and_then(|s| s.suspend) == Some(true);
    let known = status.conditions.iter().flatten().any(|c| c.type_ == "Suspended");
    if suspended {
        if !is_over && set(status, "Suspended", true, "JobSuspended", "Job suspended", now) {
            notices.push((false, "Suspended", "Job suspended".to_owned()));
            // Active time is counted from the last start.
            status.start_time = None;
        }
    } else {
        if known && set(status, "Suspended", false, "JobResumed", "Job resumed", now) {
            notices.push((false, "Resumed", "Job resumed".to_owned()));
            status.start_time = Some(Time(now));
        }
        status.start_time.get_or_insert(Time(now));
    }
    notices
}

/// Conditions of the end: first that it is decided, then, when all pods are gone, that it is final.
pub(super) fn note_end(status: &mut JobStatus, end: &End, pods_left: bool, now: Timestamp) -> Notices {
    let mut notices = Notices::new();
    let (decided, last, reason, message) = match end {
        End::Complete { reason, message } => ("SuccessCriteriaMet", "Complete", *reason, message),
        End::Failed { reason, message } => ("FailureTarget", "Failed", *reason, message),
    };
    set(status, decided, true, reason, message, now);
    let open = status.uncounted_terminated_pods.as_ref().is_some_and(|u| u.succeeded.is_some() || u.failed.is_some());
    if pods_left || open {
        return notices;
    }
    // What ended while it was suspended had begun.
    if status.succeeded.is_some() || status.failed.is_some() {
        status.start_time.get_or_insert(Time(now));
    }
    if set(status, last, true, reason, message, now) {
        if last == "Complete" {
            status.completion_time = Some(Time(now));
            notices.push((false, "Completed", "Job completed".to_owned()));
        } else {
            notices.push((true, reason, message.clone()));
        }
    }
    notices
}

/// The end that was decided in an earlier run.
pub(super) fn decided(status: &JobStatus) -> Option<End> {
    let find = |type_: &str| status.conditions.iter().flatten().find(|c| c.type_ == type_ && c.status == "True");
    let text = |c: &JobCondition| c.message.clone().unwrap_or_default();
    if let Some(condition) = find("FailureTarget") {
        return Some(End::Failed { reason: known_reason(condition), message: text(condition) });
    }
    find("SuccessCriteriaMet").map(|c| End::Complete { reason: known_reason(c), message: text(c) })
}

/// Events want fixed reasons.
fn known_reason(condition: &JobCondition) -> &'static str {
    const KNOWN: [&str; 7] = [
        "PodFailurePolicy",
        "BackoffLimitExceeded",
        "DeadlineExceeded",
        "MaxFailedIndexesExceeded",
        "FailedIndexes",
        "SuccessPolicy",
        "CompletionsReached",
    ];
    let reason = condition.reason.as_deref().unwrap_or_default();
    KNOWN.into_iter().find(|known| *known == reason).unwrap_or("CompletionsReached")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_job_that_is_over_is_not_suspended_any_more() {
        let job: Job = serde_json::from_value(json!({"spec": {"suspend": true, "template": {}}})).expect("valid");
        let now = Timestamp::now();
        for is_over in [true, false] {
            let mut status = JobStatus { start_time: Some(Time(now)), ..JobStatus::default() };
            assert_eq!(note_suspension(&job, &mut status, is_over, now).is_empty(), is_over);
            assert_eq!((has(&status, "Suspended"), status.start_time.is_some()), (!is_over, is_over));
        }
    }

    #[test]
    fn a_job_is_final_only_when_its_pods_are_gone() {
        let now = Timestamp::now();
        let mut status = JobStatus::default();
        let end = End::Failed { reason: "BackoffLimitExceeded", message: "m".to_owned() };
        assert!(note_end(&mut status, &end, true, now).is_empty());
        assert!(has(&status, "FailureTarget") && !has(&status, "Failed"));
        assert_eq!(decided(&status), Some(end.clone()));
        assert_eq!(note_end(&mut status, &end, false, now).len(), 1);
        assert!(has(&status, "Failed"));
        assert!(note_end(&mut status, &end, false, now).is_empty(), "told once");
    }

    #[test]
    fn a_job_that_ended_while_it_was_suspended_had_begun() {
        let end = End::Complete { reason: "CompletionsReached", message: String::new() };
        for (succeeded, begun) in [(Some(1), true), (None, false)] {
            let mut status = JobStatus { succeeded, ..JobStatus::default() };
            note_end(&mut status, &end, false, Timestamp::now());
            assert_eq!((has(&status, "Complete"), status.start_time.is_some()), (true, begun));
        }
    }
}

//! What is told of Jobs, under upstream's names.

use super::indexes;
use super::plan::Size;
use super::tally::is_indexed;
use k8s_openapi::api::batch::v1::{Job, JobSpec, JobStatus};
use std::time::Duration;

/// What a run is called that makes and ends no pods since the Job is over.
pub(super) const OVER: &str = "reconciling";

/// What a run is called that brings a Job to its size.
pub(super) fn action(size: &Size) -> &'static str {
    match size {
        Size::Create(_) => "pods_created",
        Size::Delete(_) => "pods_deleted",
        Size::Keep | Size::Wait(_) => "tracking",
    }
}

fn mode(job: &Job) -> (&'static str, &'static str) {
    let indexed = job.spec.as_ref().is_some_and(is_indexed);
    ("completion_mode", if indexed { "Indexed" } else { "NonIndexed" })
}

/// A run over a Job that was not finished has ended.
pub(super) fn ran(job: &Job, action: &'static str, well: bool, took: Duration) {
    let labels = [("action", action), mode(job), ("result", if well { "success" } else { "error" })];
    rk_client::count("job_controller_job_syncs_total", &labels);
    rk_client::observe("job_controller_job_sync_duration_seconds", &labels, took);
}

/// The status of a Job was written: its pods that are counted from now on, and its end.
pub(super) fn written(before: Option<&JobStatus>, after: &Job) {
    let Some(now) = &after.status else { return };
    let gained = |count: fn(&JobStatus) -> Option<i32>| {
        let more = count(now).unwrap_or(0).saturating_sub(before.and_then(count).unwrap_or(0));
        usize::try_from(more).unwrap_or(0)
    };
    let succeeded = match after.spec.as_ref().filter(|spec| is_indexed(spec)) {
        // Indexes that are none any more hide none that came to an end.
        Some(spec) => ended(before, now, spec),
        None => gained(|status| status.succeeded),
    };
    for (result, more) in [("succeeded", succeeded), ("failed", gained(|status| status.failed))] {
        if more > 0 {
            rk_client::add("job_controller_job_pods_finished_total", &[mode(after), ("result", result)], more);
        }
    }
    for (end, result) in [("Complete", "succeeded"), ("Failed", "failed")] {
        let met = |status: &JobStatus| {
            let condition = status.conditions.iter().flatten().find(|own| own.type_ == end && own.status == "True");
            condition.map(|own| own.reason.clone().unwrap_or_default())
        };
        if let Some(reason) = met(now).filter(|_| before.and_then(met).is_none()) {
            let labels = [mode(after), ("reason", reason.as_str()), ("result", result)];
            rk_client::count("job_controller_jobs_finished_total", &labels);
        }
    }
}

/// Counts the indexes that are told as done, or as failed for good, from now on, and says how many are done.
fn ended(before: Option<&JobStatus>, now: &JobStatus, spec: &JobSpec) -> usize {
    let limit = ("backoffLimit", if spec.backoff_limit_per_index.is_some() { "perIndex" } else { "global" });
    let parse = |text: Option<&String>| indexes::parse(text.map(String::as_str).unwrap_or_default(), i32::MAX);
    let more =
        |list: fn(&JobStatus) -> Option<&String>| parse(list(now)).difference(&parse(before.and_then(list))).count();
    let succeeded = more(|status| status.completed_indexes.as_ref());
    for (status, more) in [("succeeded", succeeded), ("failed", more(|status| status.failed_indexes.as_ref()))] {
        if more > 0 {
            rk_client::add("job_controller_job_finished_indexes_total", &[limit, ("status", status)], more);
        }
    }
    succeeded
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn job(status: Value) -> Job {
        let spec = json!({"completionMode": "Indexed", "template": {}});
        serde_json::from_value(json!({"spec": spec, "status": status})).expect("valid")
    }

    /// What a series shows; other tests run over Jobs, too.
    fn told(series: &str) -> f64 {
        let value = |line: &str| line.strip_prefix(series)?.trim().parse().ok();
        rk_client::render_figures().lines().find_map(value).unwrap_or_default()
    }

    #[test]
    fn pods_are_counted_as_far_as_they_are_new_and_an_end_once() {
        const PODS: &str = "job_controller_job_pods_finished_total{completion_mode=\"Indexed\",result=\"failed\"}";
        const ENDS: &str =
            "job_controller_jobs_finished_total{completion_mode=\"Indexed\",reason=\"OfThisTest\",result=\"failed\"}";
        let before = job(json!({"failed": 2}));
        let ended = json!([{"type": "Failed", "status": "True", "reason": "OfThisTest"}]);
        let after = job(json!({"failed": 5, "conditions": ended}));
        let pods = told(PODS);
        written(before.status.as_ref(), &after);
        assert!(told(PODS) >= pods + 3.0);
        assert_eq!(told(ENDS), 1.0);
        written(after.status.as_ref(), &after);
        assert_eq!(told(ENDS), 1.0, "it ended before");
    }

    #[test]
    fn indexes_are_counted_when_they_come_to_an_end() {
        const DONE: &str = "job_controller_job_finished_indexes_total{backoffLimit=\"global\",status=\"succeeded\"}";
        const PODS: &str = "job_controller_job_pods_finished_total{completion_mode=\"Indexed\",result=\"succeeded\"}";
        // As many as before, of a Job that was made smaller meanwhile.
        let before = job(json!({"succeeded": 4, "completedIndexes": "1,7-9"}));
        let after = job(json!({"succeeded": 4, "completedIndexes": "1-4"}));
        let (done, pods) = (told(DONE), told(PODS));
        written(before.status.as_ref(), &after);
        assert!(told(DONE) >= done + 3.0);
        assert!(told(PODS) >= pods + 3.0);
    }

    #[test]
    fn runs_are_told_by_what_they_did() {
        const RUNS: &str =
            "job_controller_job_syncs_total{action=\"pods_created\",completion_mode=\"Indexed\",result=\"error\"}";
        let runs = told(RUNS);
        ran(&job(Value::Null), action(&Size::Create(1)), false, Duration::from_millis(5));
        assert!(told(RUNS) >= runs + 1.0);
        assert_eq!([Size::Keep, Size::Delete(1)].map(|size| action(&size)), ["tracking", "pods_deleted"]);
    }
}

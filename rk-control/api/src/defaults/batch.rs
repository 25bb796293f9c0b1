//! Jobs and CronJobs.

use serde_json::Value;

use super::edit::{child, default, each, empty, ensure, text, unset};
use super::pod;
use crate::Object;

/// Job.
pub(super) fn job(object: &mut Object) {
    let Some(spec) = ensure(object, "spec") else {
        return;
    };
    if unset(spec, "completions") && unset(spec, "parallelism") {
        default(spec, "completions", 1);
    }
    default(spec, "parallelism", 1);
    let limit = if unset(spec, "backoffLimitPerIndex") { 6 } else { i32::MAX };
    default(spec, "backoffLimit", limit);
    default(spec, "completionMode", "NonIndexed");
    default(spec, "suspend", false);
    default(spec, "manualSelector", false);
    let replacement = if unset(spec, "podFailurePolicy") { "TerminatingOrFailed" } else { "Failed" };
    default(spec, "podReplacementPolicy", replacement);
    let labels = spec.get("template").and_then(|t| t.pointer("/metadata/labels")).cloned();
    template(spec);
    if let (Some(labels), Some(metadata)) = (labels, ensure(object, "metadata"))
        && empty(metadata, "labels")
        && labels.as_object().is_some_and(|l| !l.is_empty())
    {
        metadata.insert("labels".into(), labels);
    }
}

/// What is completed inside a CronJob, too.
fn template(spec: &mut Object) {
    if let Some(policy) = child(spec, "podFailurePolicy") {
        each(policy, "rules").flat_map(|rule| each(rule, "onPodConditions")).for_each(awaited_status);
    }
    if let Some(template) = spec.get_mut("template").and_then(Value::as_object_mut) {
        pod::template(template);
    }
}

/// CronJob; the job inside gets most of its own defaults when it is created.
pub(super) fn cron_job(object: &mut Object) {
    let Some(spec) = ensure(object, "spec") else {
        return;
    };
    default(spec, "concurrencyPolicy", "Allow");
    default(spec, "suspend", false);
    default(spec, "successfulJobsHistoryLimit", 3);
    default(spec, "failedJobsHistoryLimit", 1);
    if let Some(job) = child(spec, "jobTemplate").and_then(|t| child(t, "spec")) {
        template(job);
    }
}

/// The status that a condition of a pod is to have: written always, so that it may be empty.
fn awaited_status(pattern: &mut Object) {
    if text(pattern, "status").is_empty() {
        pattern.insert("status".to_owned(), "True".into());
    }
}

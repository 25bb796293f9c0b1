//! Removes finished Jobs after their `ttlSecondsAfterFinished`.

use super::is_finished;
use crate::context::Context;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use rk_client::{BoxError, Deletion, ObjectKey, Outcome, Queue, is_not_found};

/// Starts the loop.
pub(crate) fn register(ctx: &Context) {
    let jobs = ctx.informers.of::<Job>();
    let queue: Queue<ObjectKey> = Queue::default();
    let q = queue.clone();
    jobs.on_change(move |change| {
        if due(change.object()).is_some() {
            q.add(ObjectKey::of(change.object().as_ref()));
        }
    });
    ctx.work("ttl_jobs_to_delete", queue, 1, move |key| {
        let jobs = jobs.clone();
        async move {
            let Some(job) = jobs.get(&key) else { return Ok(Outcome::AwaitChange) };
            let Some(due) = due(&job) else { return Ok(Outcome::AwaitChange) };
            let left = due.duration_since(Timestamp::now());
            if left > SignedDuration::ZERO {
                return Ok(Outcome::RequeueAfter(left.unsigned_abs()));
            }
            match jobs.delete(&key, &deletion(&job)).await {
                Ok(()) => Ok(Outcome::AwaitChange),
                Err(error) if is_not_found(&error) => Ok(Outcome::AwaitChange),
                Err(error) => Err(BoxError::from(error)),
            }
        }
    });
}

/// Only as it was seen: somebody may have given it more time.
fn deletion(job: &Job) -> Deletion {
    Deletion {
        resource_version: job.metadata.resource_version.clone(),
        propagation: Some(kube::api::PropagationPolicy::Foreground),
        ..Deletion::of_uid(job.metadata.uid.as_ref())
    }
}

/// When a finished Job has to go, if ever.
fn due(job: &Job) -> Option<Timestamp> {
    let ttl = job.spec.as_ref()?.ttl_seconds_after_finished?;
    if !is_finished(job) || job.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let finished =
        conditions.iter().find(|c| matches!(c.type_.as_str(), "Complete" | "Failed") && c.status == "True")?;
    finished.last_transition_time.as_ref()?.0.checked_add(SignedDuration::from_secs(i64::from(ttl))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_job_is_deleted_as_it_was_seen() {
        let job = json!({"metadata": {"uid": "u", "resourceVersion": "7"}});
        let how = deletion(&serde_json::from_value(job).expect("valid"));
        assert_eq!((how.uid.as_deref(), how.resource_version.as_deref()), (Some("u"), Some("7")));
    }
}

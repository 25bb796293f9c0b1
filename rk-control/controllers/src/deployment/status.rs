//! The status of a Deployment, and whether its rollout progresses.

use super::conditions::{self, AVAILABLE, NEW_SET_AVAILABLE, PAUSED, PROGRESSING, REPLICA_FAILURE, TIMED_OUT};
use super::{Controller, Rollout, template};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{DeploymentStatus, ReplicaSet, ReplicaSetStatus};
use rk_client::{BoxError, Outcome};
use std::time::Duration;

fn sum<'a>(sets: impl Iterator<Item = &'a ReplicaSet>, field: fn(&ReplicaSetStatus) -> i32) -> i32 {
    sets.filter_map(|s| s.status.as_ref()).map(field).sum()
}

fn nonzero(value: i32) -> Option<i32> {
    Some(value).filter(|n| *n != 0)
}

/// `i32::MAX` means that nobody waits for progress.
fn deadline(rollout: &Rollout) -> Option<i32> {
    rollout.spec().progress_deadline_seconds.filter(|s| *s != i32::MAX)
}

/// Whether nobody expects progress: the rollout is paused, or the Deployment goes.
fn rests(rollout: &Rollout) -> bool {
    rollout.spec().paused == Some(true) || rollout.deployment.metadata.deletion_timestamp.is_some()
}

/// Counts and the Available condition.
pub(super) fn counted(rollout: &Rollout, now: Timestamp) -> DeploymentStatus {
    let wanted_by_sets: i32 = rollout.sets.iter().map(template::replicas).sum();
    let available = sum(rollout.sets.iter(), |s| s.available_replicas.unwrap_or(0));
    let updated = rollout.new_set().and_then(|at| rollout.sets.get(at));
    let before = rollout.deployment.status.as_ref();
    let mut status = DeploymentStatus {
        observed_generation: rollout.deployment.metadata.generation,
        replicas: nonzero(sum(rollout.sets.iter(), |s| s.replicas)),
        updated_replicas: nonzero(sum(updated.into_iter(), |s| s.replicas)),
        ready_replicas: nonzero(sum(rollout.sets.iter(), |s| s.ready_replicas.unwrap_or(0))),
        available_replicas: nonzero(available),
        unavailable_replicas: nonzero((wanted_by_sets - available).max(0)),
        // Not known while one of the sets has not told.
        terminating_replicas: rollout.sets.iter().map(|set| set.status.as_ref()?.terminating_replicas).sum(),
        collision_count: before.and_then(|s| s.collision_count),
        conditions: before.and_then(|s| s.conditions.clone()),
    };
    let (value, reason, message) = if available >= rollout.wanted() - rollout.fences().unavailable {
        ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    conditions::set(&mut status, AVAILABLE, value, reason, message.to_owned(), now);
    status
}

/// Every replica is up to date and available, and no old one is left.
pub(super) fn is_complete(status: &DeploymentStatus, wanted: i32, generation: Option<i64>) -> bool {
    let all = [status.updated_replicas, status.replicas, status.available_replicas];
    all.iter().all(|n| n.unwrap_or(0) == wanted) && status.observed_generation >= generation
}

fn has_progressed(before: &DeploymentStatus, after: &DeploymentStatus) -> bool {
    let n = |value: Option<i32>| value.unwrap_or(0);
    let old = |status: &DeploymentStatus| n(status.replicas) - n(status.updated_replicas);
    n(after.updated_replicas) > n(before.updated_replicas)
        || old(after) < old(before)
        || n(after.ready_replicas) > n(before.ready_replicas)
        || n(after.available_replicas) > n(before.available_replicas)
}

/// When the deadline of progress is over, if one runs.
fn due(rollout: &Rollout, status: &DeploymentStatus) -> Option<Timestamp> {
    let condition = conditions::get(status, PROGRESSING)?;
    if rests(rollout) || condition.reason.as_deref() == Some(NEW_SET_AVAILABLE) {
        return None;
    }
    let from = condition.last_update_time.as_ref()?.0;
    from.checked_add(SignedDuration::from_secs(i64::from(deadline(rollout)?))).ok()
}

/// The full status, with progress judged against the status before where somebody expects it: what a pause says of it stays.
pub(super) fn judged(rollout: &Rollout, now: Timestamp) -> DeploymentStatus {
    let mut status = counted(rollout, now);
    if rests(rollout) {
        return status;
    }
    let before = rollout.deployment.status.clone().unwrap_or_default();
    let new = rollout.new_set().and_then(|at| rollout.sets.get(at));
    let subject = match new.and_then(|s| s.metadata.name.as_ref()) {
        Some(set) => format!("ReplicaSet {set:?}"),
        None => format!("Deployment {:?}", rollout.deployment.metadata.name.as_deref().unwrap_or_default()),
    };
    let reason = conditions::get(&before, PROGRESSING).and_then(|c| c.reason.clone());
    let finished = status.replicas == status.updated_replicas && reason.as_deref() == Some(NEW_SET_AVAILABLE);
    if deadline(rollout).is_none() {
        conditions::remove(&mut status, PROGRESSING);
    } else if !finished {
        if is_complete(&status, rollout.wanted(), rollout.deployment.metadata.generation) {
            conditions::set(
                &mut status,
                PROGRESSING,
                "True",
                NEW_SET_AVAILABLE,
                format!("{subject} has successfully progressed."),
                now,
            );
        } else if has_progressed(&before, &status) {
            conditions::replace(
                &mut status,
                PROGRESSING,
                "True",
                "ReplicaSetUpdated",
                format!("{subject} is progressing."),
                now,
            );
        } else if due(rollout, &before).is_some_and(|due| due < now) {
            conditions::set(
                &mut status,
                PROGRESSING,
                "False",
                TIMED_OUT,
                format!("{subject} has timed out progressing."),
                now,
            );
        }
    }
    // What the new set says comes before what old ones do, though one of them may be younger.
    let failures = new
        .into_iter()
        .chain(rollout.sets.iter().rev())
        .filter_map(|s| s.status.as_ref()?.conditions.as_ref()?.iter().find(|c| c.type_ == REPLICA_FAILURE));
    match failures.map(|c| (c.status.clone(), c.reason.clone(), c.message.clone())).next() {
        Some((value, reason, message)) => {
            conditions::set(
                &mut status,
                REPLICA_FAILURE,
                &value,
                &reason.unwrap_or_default(),
                message.unwrap_or_default(),
                now,
            );
        }
        None => conditions::remove(&mut status, REPLICA_FAILURE),
    }
    status
}

impl Controller {
    /// Writes the status if it changed; wakes up again when the progress deadline is over.
    pub(super) async fn sync_status(&self, rollout: &mut Rollout) -> Result<Outcome, BoxError> {
        let status = judged(rollout, Timestamp::now());
        if rollout.deployment.status.as_ref() != Some(&status) {
            rollout.deployment.status = Some(status);
            rollout.deployment = self.deployments.replace_status(&rollout.deployment).await?;
        }
        let status = rollout.deployment.status.clone().unwrap_or_default();
        let reason = conditions::get(&status, PROGRESSING).and_then(|c| c.reason.as_deref());
        if reason == Some(TIMED_OUT) || is_complete(&status, rollout.wanted(), rollout.deployment.metadata.generation) {
            return Ok(Outcome::AwaitChange);
        }
        let Some(due) = due(rollout, &status) else { return Ok(Outcome::AwaitChange) };
        let left = due.duration_since(Timestamp::now()).max(SignedDuration::ZERO).unsigned_abs();
        Ok(Outcome::RequeueAfter(left + Duration::from_secs(1)))
    }

    /// A paused rollout makes no progress, so its deadline must not run.
    pub(super) async fn note_pause(&self, rollout: &mut Rollout) -> Result<(), BoxError> {
        if deadline(rollout).is_none() {
            return Ok(());
        }
        let paused = rollout.spec().paused == Some(true);
        let mut status = rollout.deployment.status.clone().unwrap_or_default();
        let reason = conditions::get(&status, PROGRESSING).and_then(|c| c.reason.as_deref());
        let noted = reason == Some(PAUSED);
        if reason == Some(TIMED_OUT) || noted == paused {
            return Ok(());
        }
        let (reason, message) =
            if paused { (PAUSED, "Deployment is paused") } else { ("DeploymentResumed", "Deployment is resumed") };
        conditions::set(&mut status, PROGRESSING, "Unknown", reason, message.to_owned(), Timestamp::now());
        rollout.deployment.status = Some(status);
        rollout.deployment = self.deployments.replace_status(&rollout.deployment).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rollout(set_status: serde_json::Value, status: serde_json::Value) -> Rollout {
        let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": []}});
        let deployment = json!({"metadata": {"name": "web", "generation": 1}, "status": status,
            "spec": {"replicas": 2, "selector": {}, "template": template, "progressDeadlineSeconds": 600}});
        let set = json!({"metadata": {"name": "web-1"}, "spec": {"replicas": 2, "selector": {}, "template": template}, "status": set_status});
        Rollout {
            deployment: serde_json::from_value(deployment).expect("valid"),
            sets: vec![serde_json::from_value(set).expect("valid")],
        }
    }

    fn progressing(reason: &str, at: &str) -> serde_json::Value {
        json!({"conditions": [{"type": "Progressing", "status": "True", "reason": reason, "lastUpdateTime": at, "lastTransitionTime": at}]})
    }

    #[test]
    fn progress_is_complete_moving_or_stuck() {
        let now: Timestamp = "2026-01-01T01:00:00Z".parse().expect("time");
        let cases = [
            (
                json!({"replicas": 2, "readyReplicas": 2, "availableReplicas": 2}),
                "ReplicaSetUpdated",
                "00:59:00",
                ("True", "NewReplicaSetAvailable"),
            ),
            (
                json!({"replicas": 2, "readyReplicas": 1, "availableReplicas": 1}),
                "ReplicaSetUpdated",
                "00:59:00",
                ("True", "ReplicaSetUpdated"),
            ),
            (json!({"replicas": 0}), "ReplicaSetUpdated", "00:59:00", ("True", "ReplicaSetUpdated")),
            (json!({"replicas": 0}), "ReplicaSetUpdated", "00:40:00", ("False", "ProgressDeadlineExceeded")),
        ];
        for (set, reason, at, expected) in cases {
            let rollout = rollout(set, progressing(reason, &format!("2026-01-01T{at}Z")));
            let status = judged(&rollout, now);
            let condition = conditions::get(&status, PROGRESSING).expect("kept");
            assert_eq!((condition.status.as_str(), condition.reason.as_deref().unwrap_or_default()), expected);
        }
    }

    #[test]
    fn nobody_judges_the_progress_of_a_paused_rollout() {
        let since = "2026-01-01T00:00:00Z";
        let now: Timestamp = "2026-01-01T01:00:00Z".parse().expect("time");
        for available in [2, 1] {
            let set = json!({"replicas": 2, "readyReplicas": available, "availableReplicas": available});
            let mut rollout = rollout(set, progressing(PAUSED, since));
            rollout.deployment.spec.as_mut().expect("a spec").paused = Some(true);
            let status = judged(&rollout, now);
            let reason = conditions::get(&status, PROGRESSING).and_then(|c| c.reason.as_deref());
            assert_eq!((reason, due(&rollout, &status)), (Some(PAUSED), None), "{available} available");
            assert_eq!(status.available_replicas, Some(available));
        }
    }

    #[test]
    fn terminating_pods_are_told_once_every_set_tells_of_its_own() {
        let mut rollout = rollout(json!({"replicas": 2, "terminatingReplicas": 3}), json!({}));
        assert_eq!(counted(&rollout, Timestamp::now()).terminating_replicas, Some(3));
        rollout.sets.push(ReplicaSet::default());
        assert_eq!(counted(&rollout, Timestamp::now()).terminating_replicas, None);
    }

    #[test]
    fn the_failure_of_the_new_set_is_told_before_that_of_a_younger_one() {
        let failed = |reason: &str| json!({"replicas": 0, "conditions": [{"type": "ReplicaFailure", "status": "True", "reason": reason}]});
        let mut rollout = rollout(failed("New"), json!({}));
        let old = json!({"metadata": {"name": "web-2"}, "spec": {"selector": {}}, "status": failed("Old")});
        rollout.sets.push(serde_json::from_value(old).expect("valid"));
        let status = judged(&rollout, Timestamp::now());
        let reason = |status| conditions::get(status, REPLICA_FAILURE).and_then(|c| c.reason.clone());
        assert_eq!(reason(&status).as_deref(), Some("New"));
    }

    #[test]
    fn availability_follows_the_fence() {
        let status = judged(&rollout(json!({"replicas": 2, "availableReplicas": 1}), json!({})), Timestamp::now());
        let available = conditions::get(&status, AVAILABLE).expect("set");
        assert_eq!((available.status.as_str(), status.unavailable_replicas), ("False", Some(1)));
    }
}

//! Conditions of a Deployment.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DeploymentCondition, DeploymentStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

pub(super) const AVAILABLE: &str = "Available";
pub(super) const PROGRESSING: &str = "Progressing";
pub(super) const REPLICA_FAILURE: &str = "ReplicaFailure";

pub(super) const NEW_SET_AVAILABLE: &str = "NewReplicaSetAvailable";
pub(super) const TIMED_OUT: &str = "ProgressDeadlineExceeded";
pub(super) const PAUSED: &str = "DeploymentPaused";

pub(super) fn get<'a>(status: &'a DeploymentStatus, type_: &str) -> Option<&'a DeploymentCondition> {
    status.conditions.iter().flatten().find(|c| c.type_ == type_)
}

pub(super) fn remove(status: &mut DeploymentStatus, type_: &str) {
    status.conditions.iter_mut().for_each(|all| all.retain(|c| c.type_ != type_));
}

/// Sets a condition; nothing happens when status and reason stay, and the transition time stays with the status.
pub(super) fn set(
    status: &mut DeploymentStatus,
    type_: &str,
    value: &str,
    reason: &str,
    message: String,
    now: Timestamp,
) {
    let current = get(status, type_);
    if current.is_some_and(|c| c.status == value && c.reason.as_deref() == Some(reason)) {
        return;
    }
    replace(status, type_, value, reason, message, now);
}

/// Like [`set`], but notes an update even when status and reason stay.
pub(super) fn replace(
    status: &mut DeploymentStatus,
    type_: &str,
    value: &str,
    reason: &str,
    message: String,
    now: Timestamp,
) {
    let transition = get(status, type_).filter(|c| c.status == value).and_then(|c| c.last_transition_time.clone());
    remove(status, type_);
    status.conditions.get_or_insert_default().push(DeploymentCondition {
        type_: type_.to_owned(),
        status: value.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_update_time: Some(Time(now)),
        last_transition_time: transition.or(Some(Time(now))),
    });
}

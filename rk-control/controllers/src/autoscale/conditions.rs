//! What the status of an autoscaler says of its last turn.

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::{HorizontalPodAutoscalerCondition, HorizontalPodAutoscalerStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// The target's scale could be read, and written where that was due.
pub(super) const ABLE: &str = "AbleToScale";
/// Metrics tell how large the target should be.
pub(super) const ACTIVE: &str = "ScalingActive";
/// The target gets less, or more, than metrics ask for.
pub(super) const LIMITED: &str = "ScalingLimited";

/// Sets a condition; it keeps its time as long as its value is the same.
pub(super) fn set(
    status: &mut HorizontalPodAutoscalerStatus,
    type_: &str,
    holds: bool,
    reason: &str,
    text: impl Into<String>,
) {
    let value = if holds { "True" } else { "False" };
    let all = status.conditions.get_or_insert_default();
    let since = all.iter().find(|c| c.type_ == type_ && c.status == value).and_then(|c| c.last_transition_time.clone());
    let condition = HorizontalPodAutoscalerCondition {
        type_: type_.to_owned(),
        status: value.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(text.into()),
        last_transition_time: since.or(Some(Time(Timestamp::now()))),
    };
    match all.iter_mut().find(|c| c.type_ == type_) {
        Some(known) => *known = condition,
        None => all.push(condition),
    }
}

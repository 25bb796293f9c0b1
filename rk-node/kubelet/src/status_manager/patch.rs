//! What is written of a pod's status: what differs, and nothing of others'. Values only.

use k8s_openapi::api::core::v1::{PodCondition, PodStatus};
use serde_json::Value;

use crate::pod::conditions::{DISRUPTION, lasts, ours, owned};

/// The parts of a pod status that differ, as a JSON merge patch, or `None` when nothing does.
pub fn status_patch(current: &PodStatus, wanted: &PodStatus) -> Option<Value> {
    let mut wanted = wanted.clone();
    // It never changes, and the server may see more of a static pod's mirror than its manifest says.
    if current.qos_class.is_some() {
        wanted.qos_class.clone_from(&current.qos_class);
    }
    // Nor does this, and of a static pod the mirror alone knows it once the kubelet began anew.
    wanted = since_first(current, wanted);
    wanted.conditions = Some(merge_conditions(
        current.conditions.as_deref().unwrap_or_default(),
        wanted.conditions.as_deref().unwrap_or_default(),
    ));
    let (current, wanted) = (serde_json::to_value(current).ok()?, serde_json::to_value(&wanted).ok()?);
    let (current, wanted) = (current.as_object()?, wanted.as_object()?);
    let mut patch = serde_json::Map::new();
    for (key, value) in wanted {
        if current.get(key) != Some(value) {
            patch.insert(key.clone(), value.clone());
        }
    }
    for key in current.keys().filter(|k| !wanted.contains_key(*k)) {
        // What other controllers own stays.
        if !["nominatedNodeName", "resize", "resourceClaimStatuses", "extendedResourceClaimStatus"]
            .contains(&key.as_str())
        {
            patch.insert(key.clone(), Value::Null);
        }
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

/// Ours from `wanted`, everybody else's as they are now.
fn merge_conditions(current: &[PodCondition], wanted: &[PodCondition]) -> Vec<PodCondition> {
    let mut merged: Vec<PodCondition> = Vec::new();
    for condition in wanted.iter().filter(|c| ours(c)) {
        let mut condition = condition.clone();
        // Equal states keep the time at which they were first written.
        if let Some(before) = current.iter().find(|before| lasts(before, &condition)) {
            condition.last_transition_time.clone_from(&before.last_transition_time);
        }
        merged.push(condition);
    }
    let disrupted = merged.iter().any(|c| c.type_ == DISRUPTION);
    let ours = |type_: &str| owned(type_) || (disrupted && type_ == DISRUPTION);
    merged.extend(current.iter().filter(|c| !ours(&c.type_)).cloned());
    merged
}

/// A pod begins once: when it did is as it was told first, though what the API says of it may not know that yet.
pub fn since_first(told: &PodStatus, mut status: PodStatus) -> PodStatus {
    status.start_time = told.start_time.clone().or(status.start_time);
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn status(value: Value) -> PodStatus {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_patch_holds_only_what_differs_and_spares_foreign_conditions() {
        let current = status(
            json!({"phase": "Pending", "reason": "x", "qosClass": "Burstable", "nominatedNodeName": "n", "conditions": [
            {"type": "Ready", "status": "False", "lastTransitionTime": "2020-01-01T00:00:00Z"},
            {"type": "my/gate", "status": "True"}]}),
        );
        let wanted = status(json!({"phase": "Running", "qosClass": "Burstable", "conditions": [
            {"type": "Ready", "status": "False", "lastTransitionTime": "2024-01-01T00:00:00Z"},
            {"type": "my/gate", "status": "False"}]}));
        assert_eq!(status_patch(&current, &wanted), Some(json!({"phase": "Running", "reason": null})));
        assert_eq!(status_patch(&wanted, &wanted), None);
    }

    #[test]
    fn a_pod_keeps_the_time_at_which_it_began() {
        let at = |time: &str| status(json!({"phase": "Pending", "startTime": time}));
        let first = at("2024-01-01T00:00:00Z");
        assert_eq!(since_first(&first, at("2024-01-01T00:00:09Z")), first);
        assert_eq!(since_first(&status(json!({"phase": "Failed"})), first.clone()), first);
        let patch = status_patch(&first, &at("2024-01-01T00:00:09Z"));
        assert!(
            patch.is_none_or(|patch| patch.get("startTime").is_none()),
            "as of a mirror, once the kubelet began anew"
        );
    }

    #[test]
    fn a_resize_waits_since_it_waits_for_the_same_reason() {
        let waits = |reason: &str, since: &str| {
            status(
                json!({"conditions": [{"type": "PodResizePending", "status": "True", "reason": reason, "message": since,
                "lastTransitionTime": since}]}),
            )
        };
        let (first, second) = ("2024-01-01T00:00:00Z", "2024-01-01T00:00:09Z");
        for (reason, since) in [("Deferred", first), ("Infeasible", second)] {
            let patch = status_patch(&waits("Deferred", first), &waits(reason, second)).unwrap();
            assert_eq!(patch["conditions"][0]["lastTransitionTime"], since, "{reason}");
            assert_eq!(patch["conditions"][0]["message"], second, "{reason}");
        }
    }
}

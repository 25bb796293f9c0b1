//! Taints that follow from a node's conditions.

use super::health::{condition, ready_status};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

pub(super) const NOT_READY: &str = "node.kubernetes.io/not-ready";
pub(super) const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// Condition that is bad when True, and its taint.
const PRESSURES: [(&str, &str); 4] = [
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
];

/// Every taint that this controller manages.
fn is_managed(taint: &Taint) -> bool {
    let lifecycle = [NOT_READY, UNREACHABLE].contains(&taint.key.as_str()) && taint.effect != "PreferNoSchedule";
    let scheduling = taint.key == UNSCHEDULABLE || PRESSURES.iter().any(|(_, key)| *key == taint.key);
    lifecycle || (scheduling && taint.effect == "NoSchedule")
}

/// Whether pods have to go since their node is not ready, or nobody hears of it.
pub(super) fn evicts(taints: &[Taint]) -> bool {
    taints.iter().any(|t| t.effect == "NoExecute" && [NOT_READY, UNREACHABLE].contains(&t.key.as_str()))
}

/// The node's taints as they should be, or `None` when they are so. With `hold_evictions` no new NoExecute taint
/// is set, but one that is there stays.
pub(super) fn wanted(node: &Node, hold_evictions: bool, now: Timestamp) -> Option<Vec<Taint>> {
    let spec = node.spec.as_ref();
    let current = spec.and_then(|s| s.taints.clone()).unwrap_or_default();
    let mut targets: Vec<(&str, &str)> = Vec::new();
    match ready_status(node) {
        None | Some("True") => {}
        Some(status) => {
            let key = if status == "False" { NOT_READY } else { UNREACHABLE };
            targets.push((key, "NoSchedule"));
            if !hold_evictions || evicts(&current) {
                targets.push((key, "NoExecute"));
            }
        }
    }
    for (type_, key) in PRESSURES {
        if condition(node, type_).is_some_and(|c| c.status == "True") {
            targets.push((key, "NoSchedule"));
        }
    }
    if spec.and_then(|s| s.unschedulable) == Some(true) {
        targets.push((UNSCHEDULABLE, "NoSchedule"));
    }
    let is_target = |taint: &Taint| targets.iter().any(|(key, effect)| taint.key == *key && taint.effect == *effect);
    let unreported =
        |taint: &Taint| ready_status(node).is_none() && [NOT_READY, UNREACHABLE].contains(&taint.key.as_str());
    let mut result: Vec<Taint> =
        current.iter().filter(|t| !is_managed(t) || is_target(t) || unreported(t)).cloned().collect();
    for (key, effect) in &targets {
        if !result.iter().any(|t| t.key == *key && t.effect == *effect) {
            result.push(Taint {
                key: (*key).to_owned(),
                effect: (*effect).to_owned(),
                value: None,
                time_added: Some(Time(now)),
            });
        }
    }
    (result != current).then_some(result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn node(ready: &str, spec: Value) -> Node {
        serde_json::from_value(json!({"spec": spec, "status": {"conditions": [{"type": "Ready", "status": ready}]}}))
            .expect("valid")
    }

    fn pairs(taints: Option<Vec<Taint>>) -> Option<Vec<(String, String)>> {
        taints.map(|all| all.into_iter().map(|t| (t.key, t.effect)).collect())
    }

    #[test]
    fn a_node_that_never_reported_keeps_the_taint_that_it_was_made_with() {
        let silent: Node =
            serde_json::from_value(json!({"spec": {"taints": [{"key": NOT_READY, "effect": "NoSchedule"}]}}))
                .expect("valid");
        assert_eq!(wanted(&silent, false, Timestamp::now()), None);
    }

    #[test]
    fn taints_follow_conditions_and_foreign_ones_stay() {
        let now = Timestamp::now();
        let pair = |key: &str, effect: &str| (key.to_owned(), effect.to_owned());
        let own = json!({"taints": [{"key": "dedicated", "value": "x", "effect": "NoSchedule"}]});
        assert_eq!(wanted(&node("True", own.clone()), false, now), None);
        assert_eq!(
            pairs(wanted(&node("Unknown", own.clone()), false, now)),
            Some(vec![
                pair("dedicated", "NoSchedule"),
                pair(UNREACHABLE, "NoSchedule"),
                pair(UNREACHABLE, "NoExecute")
            ])
        );
        assert_eq!(
            pairs(wanted(&node("Unknown", own), true, now)),
            Some(vec![pair("dedicated", "NoSchedule"), pair(UNREACHABLE, "NoSchedule")])
        );
        let back = json!({"taints": [{"key": UNREACHABLE, "effect": "NoExecute"}, {"key": UNREACHABLE, "effect": "NoSchedule"}]});
        assert_eq!(pairs(wanted(&node("True", back.clone()), false, now)), Some(vec![]));
        assert_eq!(
            pairs(wanted(&node("False", back), true, now)),
            Some(vec![pair(NOT_READY, "NoSchedule"), pair(NOT_READY, "NoExecute")])
        );
        assert_eq!(
            pairs(wanted(&node("True", json!({"unschedulable": true})), false, now)),
            Some(vec![pair(UNSCHEDULABLE, "NoSchedule")])
        );
    }
}

//! Taints that drive pods out of a node, and the tolerations that answer them.

use k8s_openapi::api::core::v1::{Pod, Taint, Toleration};

/// The effect of taints that pods may not even begin under; all others are the scheduler's to judge.
const EFFECT: &str = "NoExecute";

/// Whether the pod may run under these taints of its node.
pub fn borne(pod: &Pod, taints: &[Taint]) -> bool {
    taints.iter().filter(|taint| taint.effect == EFFECT).all(|taint| tolerates(pod, taint))
}

/// Whether the pod tolerates a taint.
pub fn tolerates(pod: &Pod, taint: &Taint) -> bool {
    let tolerations = pod.spec.as_ref().and_then(|s| s.tolerations.as_deref()).unwrap_or_default();
    tolerations.iter().any(|toleration| answers(toleration, taint))
}

fn answers(toleration: &Toleration, taint: &Taint) -> bool {
    let word = |field: &Option<String>| field.clone().unwrap_or_default();
    let (effect, key, value) = (word(&toleration.effect), word(&toleration.key), word(&toleration.value));
    if (!effect.is_empty() && effect != taint.effect) || (!key.is_empty() && key != taint.key) {
        return false;
    }
    let had = word(&taint.value);
    let numbers = had.parse::<i64>().ok().zip(value.parse::<i64>().ok());
    match word(&toleration.operator).as_str() {
        "Exists" => true,
        "" | "Equal" => !key.is_empty() && value == had,
        "Lt" => numbers.is_some_and(|(had, limit)| had < limit),
        "Gt" => numbers.is_some_and(|(had, limit)| had > limit),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_runs_under_a_taint_that_it_tolerates_or_that_drives_nobody_out() {
        let taint =
            |effect: &str| Taint { key: "k".into(), value: Some("7".into()), effect: effect.into(), time_added: None };
        for (effect, tolerations, want) in [
            ("NoExecute", json!([]), false),
            ("NoSchedule", json!([]), true),
            ("NoExecute", json!([{"operator": "Exists"}]), true),
            ("NoExecute", json!([{"operator": "Exists", "effect": "NoSchedule"}]), false),
            ("NoExecute", json!([{"key": "k", "value": "7", "effect": "NoExecute", "tolerationSeconds": 3}]), true),
            ("NoExecute", json!([{"key": "k", "operator": "Equal", "value": "8"}]), false),
            ("NoExecute", json!([{"key": "other", "operator": "Exists"}]), false),
            ("NoExecute", json!([{"key": "k", "operator": "Lt", "value": "8"}]), true),
            ("NoExecute", json!([{"key": "k", "operator": "Gt", "value": "8"}]), false),
        ] {
            let pod = json!({"spec": {"containers": [], "tolerations": tolerations}});
            let pod: Pod = serde_json::from_value(pod).unwrap();
            assert_eq!(borne(&pod, &[taint(effect)]), want, "{effect} {tolerations}");
        }
    }
}

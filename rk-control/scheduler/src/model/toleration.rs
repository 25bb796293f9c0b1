//! Taints and the tolerations that answer them.

use k8s_openapi::api::core::v1::Toleration;

use super::node::{Effect, Taint};

/// Whether one of `tolerations` answers `taint`.
pub(crate) fn tolerated(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|toleration| answers(toleration, taint))
}

fn answers(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().unwrap_or_default();
    if !effect.is_empty() && Effect::of(effect) != Some(taint.effect) {
        return false;
    }
    let key = toleration.key.as_deref().unwrap_or_default();
    if !key.is_empty() && key != taint.key {
        return false;
    }
    let value = toleration.value.as_deref().unwrap_or_default();
    match toleration.operator.as_deref().unwrap_or_default() {
        "Exists" => true,
        "" | "Equal" => !key.is_empty() && value == taint.value,
        // Numeric comparison (KEP-5471): both sides must be integers.
        "Lt" => matches!((taint.value.parse::<i64>(), value.parse::<i64>()), (Ok(taint), Ok(limit)) if taint < limit),
        "Gt" => matches!((taint.value.parse::<i64>(), value.parse::<i64>()), (Ok(taint), Ok(limit)) if taint > limit),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tolerations_answer_by_key_operator_value_and_effect() {
        let taint = Taint { key: "disk".into(), value: "slow".into(), effect: Effect::NoSchedule };
        let cases = [
            (json!({"operator": "Exists"}), true),
            (json!({"key": "disk", "operator": "Exists"}), true),
            (json!({"key": "disk", "value": "slow"}), true),
            (json!({"key": "disk", "operator": "Equal", "value": "fast"}), false),
            (json!({"key": "other", "operator": "Exists"}), false),
            (json!({"key": "disk", "operator": "Exists", "effect": "NoExecute"}), false),
            (json!({"key": "disk", "operator": "Exists", "effect": "NoSchedule"}), true),
        ];
        for (toleration, expected) in cases {
            let parsed = serde_json::from_value(toleration.clone()).unwrap();
            assert_eq!(tolerated(&[parsed], &taint), expected, "{toleration}");
        }
    }
}

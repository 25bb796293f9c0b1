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
        // Numeric comparison (KEP-5471).
        "Lt" => integer(&taint.value).zip(integer(value)).is_some_and(|(taint, limit)| taint < limit),
        "Gt" => integer(&taint.value).zip(integer(value)).is_some_and(|(taint, limit)| taint > limit),
        _ => false,
    }
}

/// What is written as upstream wants integers: without leading zeros, and without a sign but a minus.
fn integer(text: &str) -> Option<i64> {
    text.parse().ok().filter(|number: &i64| number.to_string() == text)
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

    #[test]
    fn tolerations_compare_integers_and_nothing_else() {
        let answers = |taint: &str, operator: &str, limit: &str| {
            let taint = Taint { key: "sla".into(), value: taint.into(), effect: Effect::NoSchedule };
            let toleration = json!({"key": "sla", "operator": operator, "value": limit});
            tolerated(&[serde_json::from_value(toleration).unwrap()], &taint)
        };
        for (taint, limit, lt, gt) in [
            ("900", "950", true, false),
            ("1000", "950", false, true),
            ("950", "950", false, false),
            ("-5", "0", true, false),
            ("0900", "950", false, false),
            ("+900", "950", false, false),
            ("900", "0950", false, false),
            ("high", "950", false, false),
            ("900", "", false, false),
            ("900", "9223372036854775808", false, false),
        ] {
            assert_eq!((answers(taint, "Lt", limit), answers(taint, "Gt", limit)), (lt, gt), "{taint} {limit}");
        }
    }
}

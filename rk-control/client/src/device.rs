//! Taints of devices, and who bears them (KEP-5055).

use k8s_openapi::api::resource::v1::{DeviceTaint, DeviceToleration};

/// Whether a toleration covers a taint of a device. One that names no key covers all keys, whatever its operator.
pub fn tolerates_device(toleration: &DeviceToleration, taint: &DeviceTaint) -> bool {
    let is_any = |word: &Option<String>, own: &str| {
        word.as_deref().unwrap_or_default().is_empty() || word.as_deref() == Some(own)
    };
    let value = match toleration.operator.as_deref().unwrap_or_default() {
        "Exists" => true,
        "" | "Equal" => toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default(),
        _ => false,
    };
    value && is_any(&toleration.effect, &taint.effect) && is_any(&toleration.key, &taint.key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_toleration_covers_what_it_names_and_all_of_what_it_does_not() {
        let taint = DeviceTaint {
            effect: "NoExecute".to_owned(),
            key: "bad".to_owned(),
            value: Some("v".to_owned()),
            ..DeviceTaint::default()
        };
        for (toleration, covers) in [
            (json!({"operator": "Exists"}), true),
            (json!({"operator": "Exists", "key": "bad", "effect": "NoExecute"}), true),
            (json!({"operator": "Exists", "key": "other"}), false),
            (json!({"operator": "Exists", "effect": "NoSchedule"}), false),
            (json!({"key": "bad", "value": "v"}), true),
            (json!({"operator": "Equal", "value": "v"}), true),
            (json!({"key": "bad"}), false),
            (json!({"operator": "Like", "key": "bad", "value": "v"}), false),
        ] {
            let own = serde_json::from_value(toleration.clone()).expect("a toleration");
            assert_eq!(tolerates_device(&own, &taint), covers, "{toleration}");
        }
    }
}

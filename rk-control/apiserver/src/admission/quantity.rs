//! Reading amounts out of objects, for quotas and limits.

use rk_api::meta::Quantity;
use serde_json::Value;

/// An amount in an object; what is absent or no amount counts as nothing (validation refuses it elsewhere).
pub(super) fn amount(value: &Value) -> Quantity {
    match value {
        Value::String(text) => text.parse().unwrap_or_default(),
        Value::Number(number) => number.to_string().parse().unwrap_or_default(),
        _ => Quantity::ZERO,
    }
}

//! Priority and fairness.

use serde_json::json;

use super::edit::{child, default, ensure};
use crate::Object;

/// FlowSchema.
pub(super) fn flow_schema(object: &mut Object) {
    let Some(spec) = ensure(object, "spec") else {
        return;
    };
    if spec.get("matchingPrecedence").and_then(serde_json::Value::as_i64).unwrap_or(0) == 0 {
        spec.insert("matchingPrecedence".into(), json!(1000));
    }
}

/// PriorityLevelConfiguration.
pub(super) fn priority_level(object: &mut Object) {
    let Some(spec) = ensure(object, "spec") else {
        return;
    };
    if let Some(exempt) = child(spec, "exempt") {
        default(exempt, "nominalConcurrencyShares", 0);
        default(exempt, "lendablePercent", 0);
    }
    let Some(limited) = child(spec, "limited") else {
        return;
    };
    default(limited, "nominalConcurrencyShares", 30);
    default(limited, "lendablePercent", 0);
    let Some(queuing) = child(limited, "limitResponse").and_then(|response| child(response, "queuing")) else {
        return;
    };
    for (key, value) in [("queues", 64), ("handSize", 8), ("queueLengthLimit", 50)] {
        if queuing.get(key).and_then(serde_json::Value::as_i64).unwrap_or(0) == 0 {
            queuing.insert(key.into(), json!(value));
        }
    }
}

//! HorizontalPodAutoscalers.

use serde_json::json;

use super::edit::{child, default, empty, ensure, unset};
use crate::Object;

/// autoscaling/v1.
pub(super) fn autoscaler_v1(object: &mut Object) {
    if let Some(spec) = ensure(object, "spec") {
        default(spec, "minReplicas", 1);
    }
}

/// autoscaling/v2.
pub(super) fn autoscaler(object: &mut Object) {
    let Some(spec) = ensure(object, "spec") else {
        return;
    };
    default(spec, "minReplicas", 1);
    if empty(spec, "metrics") {
        let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}});
        spec.insert("metrics".into(), json!([cpu]));
    }
    let Some(behavior) = child(spec, "behavior") else {
        return;
    };
    if unset(behavior, "scaleUp") && unset(behavior, "scaleDown") {
        return;
    }
    if let Some(up) = ensure(behavior, "scaleUp") {
        default(up, "stabilizationWindowSeconds", 0);
        default(up, "selectPolicy", "Max");
        if empty(up, "policies") {
            let pods = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
            let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
            up.insert("policies".into(), json!([pods, percent]));
        }
    }
    if let Some(down) = ensure(behavior, "scaleDown") {
        default(down, "selectPolicy", "Max");
        if empty(down, "policies") {
            down.insert("policies".into(), json!([{"type": "Percent", "value": 100, "periodSeconds": 15}]));
        }
    }
}

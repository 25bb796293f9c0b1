//! HorizontalPodAutoscalers: what v1 cannot say travels in annotations, as upstream does it.

use serde_json::{Value, json};

use crate::Object;

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";

fn child<'a>(object: &'a mut Object, key: &str) -> Option<&'a mut Object> {
    object.entry(key).or_insert_with(|| json!({})).as_object_mut()
}

fn annotate(object: &mut Object, key: &str, value: &Value) {
    if let Some(annotations) = child(object, "metadata").and_then(|m| child(m, "annotations")) {
        annotations.insert(key.into(), value.to_string().into());
    }
}

fn take_annotation(object: &mut Object, key: &str) -> Option<Value> {
    let metadata = object.get_mut("metadata")?.as_object_mut()?;
    let annotations = metadata.get_mut("annotations")?.as_object_mut()?;
    let value = annotations.remove(key)?;
    if annotations.is_empty() {
        metadata.remove("annotations");
    }
    serde_json::from_str(value.as_str()?).ok()
}

/// The utilization target of a metric, when the metric is CPU utilization.
fn is_cpu_utilization(metric: &Value) -> bool {
    metric.get("type") == Some(&json!("Resource")) && metric.pointer("/resource/name") == Some(&json!("cpu"))
}

pub(super) fn v1_to_v2(object: &mut Value) {
    let Some(object) = object.as_object_mut() else {
        return;
    };
    let metrics = take_annotation(object, METRICS);
    let behavior = take_annotation(object, BEHAVIOR);
    let current = take_annotation(object, CURRENT);
    let conditions = take_annotation(object, CONDITIONS);
    if let Some(spec) = child(object, "spec") {
        let mut all: Vec<Value> = metrics.and_then(|m| m.as_array().cloned()).unwrap_or_default();
        if let Some(target) = spec.remove("targetCPUUtilizationPercentage") {
            let metric = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": target}}});
            all.insert(0, metric);
        }
        if all.is_empty() {
            // The version of old had this as a default of its controller.
            all.push(json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}));
        }
        spec.insert("metrics".into(), all.into());
        if let Some(behavior) = behavior {
            spec.insert("behavior".into(), behavior);
        }
    }
    if let Some(status) = child(object, "status") {
        let mut all: Vec<Value> = current.and_then(|m| m.as_array().cloned()).unwrap_or_default();
        if let Some(now) = status.remove("currentCPUUtilizationPercentage") {
            all.insert(
                0,
                json!({"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": now}}}),
            );
        }
        status.insert("currentMetrics".into(), if all.is_empty() { Value::Null } else { all.into() });
        if let Some(conditions) = conditions {
            status.insert("conditions".into(), conditions);
        }
        if status.get("currentReplicas") == Some(&json!(0)) {
            status.remove("currentReplicas");
        }
    }
}

pub(super) fn v2_to_v1(object: &mut Value) {
    let Some(object) = object.as_object_mut() else {
        return;
    };
    let (mut metrics, mut behavior, mut current, mut conditions) = (Vec::new(), None, Vec::new(), None);
    if let Some(spec) = child(object, "spec") {
        metrics = spec.remove("metrics").and_then(|m| m.as_array().cloned()).unwrap_or_default();
        if let Some(at) = metrics
            .iter()
            .position(|m| is_cpu_utilization(m) && m.pointer("/resource/target/averageUtilization").is_some())
        {
            let cpu = metrics.remove(at);
            let target = cpu.pointer("/resource/target/averageUtilization").cloned().unwrap_or_default();
            spec.insert("targetCPUUtilizationPercentage".into(), target);
        }
        behavior = spec.remove("behavior");
    }
    if let Some(status) = child(object, "status") {
        current = status.remove("currentMetrics").and_then(|m| m.as_array().cloned()).unwrap_or_default();
        if let Some(at) = current
            .iter()
            .position(|m| is_cpu_utilization(m) && m.pointer("/resource/current/averageUtilization").is_some())
        {
            let cpu = current.remove(at);
            let now = cpu.pointer("/resource/current/averageUtilization").cloned().unwrap_or_default();
            status.insert("currentCPUUtilizationPercentage".into(), now);
        }
        conditions = status.remove("conditions");
        for key in ["currentReplicas", "desiredReplicas"] {
            status.entry(key).or_insert_with(|| 0.into());
        }
    }
    for (key, value) in [
        (METRICS, (!metrics.is_empty()).then_some(Value::Array(metrics))),
        (BEHAVIOR, behavior),
        (CURRENT, (!current.is_empty()).then_some(Value::Array(current))),
        (CONDITIONS, conditions),
    ] {
        if let Some(value) = value {
            annotate(object, key, &value);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::convert::convert;
    use crate::resources::GroupVersionKind;

    use super::*;

    #[test]
    fn an_autoscaler_survives_the_way_to_v1_and_back() {
        let v2 = json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"},
            "spec": {"maxReplicas": 3, "metrics": [
                {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}},
                {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}},
            ], "behavior": {"scaleUp": {"selectPolicy": "Max"}}},
            "status": {"desiredReplicas": 1, "currentMetrics": null},
        });
        let v1 = convert(v2.clone(), &GroupVersionKind::new("autoscaling", "v1", "HorizontalPodAutoscaler")).unwrap();
        assert_eq!(v1["spec"], json!({"maxReplicas": 3, "targetCPUUtilizationPercentage": 50}));
        assert_eq!(v1["status"], json!({"currentReplicas": 0, "desiredReplicas": 1}));
        let back = convert(v1, &GroupVersionKind::new("autoscaling", "v2", "HorizontalPodAutoscaler")).unwrap();
        assert_eq!(back, v2);
    }

    #[test]
    fn an_autoscaler_of_old_without_a_target_means_eighty_percent() {
        let v1 = json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {}, "spec": {"maxReplicas": 3}});
        let v2 = convert(v1, &GroupVersionKind::new("autoscaling", "v2", "HorizontalPodAutoscaler")).unwrap();
        assert_eq!(v2["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 80);
    }

    #[test]
    fn an_event_keeps_its_content_under_other_names() {
        let core = json!({"apiVersion": "v1", "kind": "Event", "involvedObject": {"name": "p"}, "message": "m", "count": 2,
            "reportingComponent": "k", "reportingInstance": "", "type": "Normal"});
        let new = convert(core.clone(), &GroupVersionKind::new("events.k8s.io", "v1", "Event")).unwrap();
        assert_eq!(
            (&new["regarding"]["name"], &new["note"], &new["deprecatedCount"]),
            (&json!("p"), &json!("m"), &json!(2))
        );
        assert_eq!(convert(new, &GroupVersionKind::new("", "v1", "Event")).unwrap(), core);
    }
}

//! Which pods a quota with scopes counts.

use k8s_openapi::api::core::v1::{Pod, ResourceQuotaSpec};

fn is_best_effort(pod: &Pod) -> bool {
    let spec = pod.spec.as_ref();
    let containers = spec.into_iter().flat_map(|s| s.containers.iter().chain(s.init_containers.iter().flatten()));
    let level = spec.and_then(|s| s.resources.as_ref());
    let asks = |r: &k8s_openapi::api::core::v1::ResourceRequirements| {
        let any = |list: &Option<std::collections::BTreeMap<String, _>>| {
            list.as_ref().is_some_and(|l| l.keys().any(|k| k == "cpu" || k == "memory"))
        };
        any(&r.requests) || any(&r.limits)
    };
    !containers.filter_map(|c| c.resources.as_ref()).any(asks) && !level.is_some_and(asks)
}

fn is_terminating(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|s| s.active_deadline_seconds).is_some_and(|s| s >= 0)
}

fn has_cross_namespace_affinity(pod: &Pod) -> bool {
    let Some(affinity) = pod.spec.as_ref().and_then(|s| s.affinity.as_ref()) else { return false };
    let value = serde_json::to_value(affinity).unwrap_or_default();
    fn looks_abroad(value: &serde_json::Value) -> bool {
        match value {
            serde_json::Value::Object(map) => {
                map.get("namespaces").is_some_and(|n| n.as_array().is_some_and(|a| !a.is_empty()))
                    || map.contains_key("namespaceSelector")
                    || map.values().any(looks_abroad)
            }
            serde_json::Value::Array(items) => items.iter().any(looks_abroad),
            _ => false,
        }
    }
    looks_abroad(&value)
}

fn has_scope(pod: &Pod, scope: &str) -> bool {
    match scope {
        "Terminating" => is_terminating(pod),
        "NotTerminating" => !is_terminating(pod),
        "BestEffort" => is_best_effort(pod),
        "NotBestEffort" => !is_best_effort(pod),
        "CrossNamespacePodAffinity" => has_cross_namespace_affinity(pod),
        _ => false,
    }
}

/// Whether the quota counts the pod.
pub(super) fn counts(spec: &ResourceQuotaSpec, pod: &Pod) -> bool {
    let class = pod.spec.as_ref().and_then(|s| s.priority_class_name.as_deref()).unwrap_or_default();
    let plain = spec.scopes.iter().flatten().all(|scope| has_scope(pod, scope));
    let selected = spec.scope_selector.iter().flat_map(|s| s.match_expressions.iter().flatten()).all(|e| {
        if e.scope_name != "PriorityClass" {
            return has_scope(pod, &e.scope_name);
        }
        let listed = e.values.iter().flatten().any(|v| v == class);
        match e.operator.as_str() {
            "In" => listed,
            "NotIn" => !listed,
            "Exists" => !class.is_empty(),
            "DoesNotExist" => class.is_empty(),
            _ => false,
        }
    });
    plain && selected
}

/// Whether the quota speaks of pods only.
pub(super) fn is_scoped(spec: &ResourceQuotaSpec) -> bool {
    spec.scopes.as_ref().is_some_and(|s| !s.is_empty())
        || spec.scope_selector.as_ref().and_then(|s| s.match_expressions.as_ref()).is_some_and(|e| !e.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn scopes_split_pods() {
        let pod = |spec: Value| -> Pod { serde_json::from_value(json!({"spec": spec})).expect("valid") };
        let quota = |spec: Value| -> ResourceQuotaSpec { serde_json::from_value(spec).expect("valid") };
        let plain = pod(json!({"containers": [{"name": "c"}]}));
        let bounded = pod(
            json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}], "activeDeadlineSeconds": 5, "priorityClassName": "high"}),
        );
        let cases = [
            (json!({"scopes": ["BestEffort"]}), true, false),
            (json!({"scopes": ["NotBestEffort", "Terminating"]}), false, true),
            (json!({"scopes": ["NotTerminating"]}), true, false),
            (
                json!({"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]}}),
                false,
                true,
            ),
            (json!({}), true, true),
        ];
        for (spec, first, second) in cases {
            assert_eq!(
                (counts(&quota(spec.clone()), &plain), counts(&quota(spec.clone()), &bounded)),
                (first, second),
                "{spec}"
            );
        }
    }
}

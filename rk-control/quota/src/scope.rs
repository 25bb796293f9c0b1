//! Which quotas apply to an object.

use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, Pod, PodAffinityTerm, PodSpec, ResourceQuotaSpec, ResourceRequirements,
};

use crate::pod::has_own_resources;
use crate::usage::amount;

/// One condition of a quota; a plain scope asks that there be something.
struct Selector<'a> {
    scope: &'a str,
    operator: &'a str,
    values: &'a [String],
}

impl Selector<'_> {
    /// Whether a class is selected; `None` is to have none.
    fn takes(&self, class: Option<&str>) -> bool {
        let listed = || class.is_some_and(|class| self.values.iter().any(|value| value == class));
        match self.operator {
            "In" => listed(),
            "NotIn" => !listed(),
            "Exists" => class.is_some(),
            "DoesNotExist" => class.is_none(),
            _ => false,
        }
    }
}

fn selectors(spec: &ResourceQuotaSpec) -> impl Iterator<Item = Selector<'_>> {
    let plain =
        spec.scopes.iter().flatten().map(|scope| Selector { scope: scope.as_str(), operator: "Exists", values: &[] });
    let selected = spec.scope_selector.iter().flat_map(|selector| selector.match_expressions.iter().flatten());
    plain.chain(selected.map(|one| Selector {
        scope: &one.scope_name,
        operator: &one.operator,
        values: one.values.as_deref().unwrap_or_default(),
    }))
}

/// Whether a quota applies only to some pods or claims, and so to no other kind.
#[must_use]
pub fn is_scoped(spec: &ResourceQuotaSpec) -> bool {
    selectors(spec).next().is_some()
}

/// Whether a quota speaks of the pod.
#[must_use]
pub fn covers_pod(spec: &ResourceQuotaSpec, pod: &Pod) -> bool {
    selectors(spec).all(|selector| pod_has(pod, &selector))
}

/// Whether a quota speaks of the claim.
#[must_use]
pub fn covers_claim(spec: &ResourceQuotaSpec, claim: &PersistentVolumeClaim) -> bool {
    selectors(spec).all(|selector| selector.scope == "VolumeAttributesClass" && claim_is_of(claim, &selector))
}

fn pod_has(pod: &Pod, selector: &Selector<'_>) -> bool {
    match selector.scope {
        "Terminating" => is_terminating(pod),
        "NotTerminating" => !is_terminating(pod),
        "BestEffort" => is_best_effort(pod),
        "NotBestEffort" => !is_best_effort(pod),
        "CrossNamespacePodAffinity" => looks_abroad(pod),
        "PriorityClass" => {
            let class = pod.spec.as_ref().and_then(|spec| spec.priority_class_name.as_deref());
            selector.takes(class.filter(|class| !class.is_empty()))
        }
        _ => false,
    }
}

/// Whether the pod has a deadline.
#[must_use]
pub fn is_terminating(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.active_deadline_seconds).is_some_and(|seconds| seconds >= 0)
}

/// The class of the status, else what the spec makes of it: nothing of CPU or memory is asked for.
fn is_best_effort(pod: &Pod) -> bool {
    let told = pod.status.as_ref().and_then(|status| status.qos_class.as_deref()).filter(|class| !class.is_empty());
    told.map_or_else(|| pod.spec.as_ref().is_none_or(asks_nothing), |class| class == "BestEffort")
}

fn asks_nothing(spec: &PodSpec) -> bool {
    if has_own_resources(spec) {
        return !spec.resources.as_ref().is_some_and(asks);
    }
    let mut containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    !containers.any(|container| container.resources.as_ref().is_some_and(asks))
}

fn asks(resources: &ResourceRequirements) -> bool {
    let mut amounts = resources.requests.iter().chain(&resources.limits).flatten();
    amounts.any(|(name, quantity)| matches!(name.as_str(), "cpu" | "memory") && amount(quantity).sign() > 0)
}

/// Whether a term of the pod's affinity speaks of pods of other namespaces.
fn looks_abroad(pod: &Pod) -> bool {
    let Some(affinity) = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref()) else { return false };
    let near = affinity.pod_affinity.iter().map(|rule| {
        let required = &rule.required_during_scheduling_ignored_during_execution;
        (required, &rule.preferred_during_scheduling_ignored_during_execution)
    });
    let far = affinity.pod_anti_affinity.iter().map(|rule| {
        let required = &rule.required_during_scheduling_ignored_during_execution;
        (required, &rule.preferred_during_scheduling_ignored_during_execution)
    });
    let abroad = |term: &PodAffinityTerm| {
        term.namespace_selector.is_some() || term.namespaces.as_ref().is_some_and(|names| !names.is_empty())
    };
    near.chain(far).any(|(required, preferred)| {
        required.iter().flatten().any(abroad)
            || preferred.iter().flatten().any(|weighted| abroad(&weighted.pod_affinity_term))
    })
}

/// A claim is of the class that it asks for, of the one that it has and of the one that it is on its way to.
fn claim_is_of(claim: &PersistentVolumeClaim, selector: &Selector<'_>) -> bool {
    let status = claim.status.as_ref();
    let names = [
        claim.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.as_deref()),
        status.and_then(|status| status.current_volume_attributes_class_name.as_deref()),
        status.and_then(|status| status.modify_volume_status.as_ref()?.target_volume_attributes_class_name.as_deref()),
    ];
    let mut names = names.into_iter().flatten().filter(|name| !name.is_empty()).peekable();
    if names.peek().is_none() {
        return selector.takes(None);
    }
    names.any(|name| selector.takes(Some(name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn quota(spec: &Value) -> ResourceQuotaSpec {
        serde_json::from_value(spec.clone()).unwrap()
    }

    fn selected(scope: &str, operator: &str, values: &[&str]) -> Value {
        json!({"scopeSelector": {"matchExpressions": [{"scopeName": scope, "operator": operator, "values": values}]}})
    }

    #[test]
    fn scopes_tell_pods_apart() {
        let pod = |spec: Value| -> Pod { serde_json::from_value(json!({"spec": spec})).unwrap() };
        let asking = json!({"name": "c", "resources": {"requests": {"cpu": "1"}}});
        let term = |members: Value| {
            let mut term = json!({"topologyKey": "zone"});
            term.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
            json!({"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": term}]}})
        };
        let plain = pod(json!({"containers": [{"name": "c"}], "affinity": term(json!({}))}));
        let bounded = pod(json!({"containers": [asking], "activeDeadlineSeconds": 5, "priorityClassName": "high",
            "affinity": term(json!({"namespaceSelector": {}}))}));
        let whole = pod(json!({"containers": [{"name": "c"}], "resources": {"limits": {"memory": "1Gi"}}}));
        for (spec, expected) in [
            (json!({}), [true, true, true]),
            (json!({"scopes": ["BestEffort"]}), [true, false, false]),
            (json!({"scopes": ["NotBestEffort", "Terminating"]}), [false, true, false]),
            (json!({"scopes": ["NotTerminating"]}), [true, false, true]),
            (json!({"scopes": ["CrossNamespacePodAffinity"]}), [false, true, false]),
            (json!({"scopes": ["PriorityClass"]}), [false, true, false]),
            (selected("PriorityClass", "In", &["high", "other"]), [false, true, false]),
            (selected("PriorityClass", "NotIn", &["high"]), [true, false, true]),
            (selected("PriorityClass", "DoesNotExist", &[]), [true, false, true]),
            (selected("CrossNamespacePodAffinity", "Exists", &[]), [false, true, false]),
            (selected("VolumeAttributesClass", "DoesNotExist", &[]), [false, false, false]),
        ] {
            assert_eq!([&plain, &bounded, &whole].map(|pod| covers_pod(&quota(&spec), pod)), expected, "{spec}");
        }
    }

    #[test]
    fn the_class_of_a_status_decides() {
        let pod: Pod = serde_json::from_value(
            json!({"spec": {"containers": [{"name": "c"}]}, "status": {"qosClass": "Burstable"}}),
        )
        .unwrap();
        assert!(covers_pod(&quota(&json!({"scopes": ["NotBestEffort"]})), &pod));
    }

    #[test]
    fn claims_are_told_apart_by_every_class_that_they_name() {
        let claim = |object: Value| -> PersistentVolumeClaim { serde_json::from_value(object).unwrap() };
        let none = claim(json!({"spec": {}}));
        let moving = claim(json!({"spec": {"volumeAttributesClassName": "fast"}, "status": {
            "currentVolumeAttributesClassName": "slow",
            "modifyVolumeStatus": {"status": "InProgress", "targetVolumeAttributesClassName": "medium"}}}));
        for (spec, expected) in [
            (json!({}), [true, true]),
            (selected("VolumeAttributesClass", "In", &["fast"]), [false, true]),
            (selected("VolumeAttributesClass", "In", &["slow"]), [false, true]),
            (selected("VolumeAttributesClass", "In", &["medium"]), [false, true]),
            (selected("VolumeAttributesClass", "In", &["other"]), [false, false]),
            (selected("VolumeAttributesClass", "DoesNotExist", &[]), [true, false]),
            (json!({"scopes": ["VolumeAttributesClass"]}), [false, true]),
            (json!({"scopes": ["BestEffort"]}), [false, false]),
        ] {
            assert_eq!([&none, &moving].map(|claim| covers_claim(&quota(&spec), claim)), expected, "{spec}");
        }
        assert!(!is_scoped(&quota(&json!({}))) && is_scoped(&quota(&json!({"scopes": ["BestEffort"]}))));
    }
}

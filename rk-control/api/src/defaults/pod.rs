//! Pods, and the pod templates of workloads.

use serde_json::{Value, json};

use super::edit::{both, child, default, each, ensure};
use super::{container, volume};
use crate::Object;
use crate::meta::Quantity;

/// A pod of its own. Templates get only [`spec`]: what depends on the final pod is filled in when it is created.
pub(super) fn pod(pod: &mut Object) {
    if let Some(status) = child(pod, "status") {
        both(status, "podIP", "podIPs", |ip| json!({"ip": ip}));
    }
    let Some(spec) = ensure(pod, "spec") else {
        return;
    };
    self::spec(spec);
    default(spec, "enableServiceLinks", true);
    // What was written before it was checked counts as the shortest that there is.
    if spec.get("terminationGracePeriodSeconds").and_then(Value::as_i64).is_some_and(|seconds| seconds < 0) {
        spec.insert("terminationGracePeriodSeconds".to_owned(), json!(1));
    }
    let host_network = spec.get("hostNetwork").and_then(Value::as_bool).unwrap_or(false);
    for list in ["initContainers", "containers"] {
        for entry in each(spec, list) {
            container::requests_from_limits(entry);
            if host_network {
                container::host_ports(entry);
            }
        }
    }
    pod_level_requests(spec);
}

/// A field and its alias of old say the same; the field wins.
fn one_name(spec: &mut Object, name: &str, alias: &str) {
    let value =
        [name, alias].iter().find_map(|key| spec.get(*key)).filter(|v| v.as_str().is_some_and(|t| !t.is_empty()));
    if let Some(value) = value.cloned() {
        spec.insert(name.to_owned(), value.clone());
        spec.insert(alias.to_owned(), value);
    }
}

/// A PodTemplate.
pub(super) fn pod_template(object: &mut Object) {
    if let Some(template) = child(object, "template") {
        self::template(template);
    }
}

/// The template of a workload.
pub(super) fn template(template: &mut Object) {
    if let Some(spec) = child(template, "spec") {
        self::spec(spec);
    }
}

/// A pod's spec, in a pod or in a template.
pub(super) fn spec(spec: &mut Object) {
    one_name(spec, "serviceAccountName", "serviceAccount");
    default(spec, "dnsPolicy", "ClusterFirst");
    default(spec, "restartPolicy", "Always");
    default(spec, "securityContext", json!({}));
    default(spec, "terminationGracePeriodSeconds", 30);
    default(spec, "schedulerName", "default-scheduler");
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for entry in each(spec, list) {
            container::container(entry);
        }
    }
    for entry in each(spec, "volumes") {
        volume::volume(entry);
    }
}

/// Requests of the pod as a whole: what its containers ask for together, else its limits.
fn pod_level_requests(spec: &mut Object) {
    let pod_level = |name: &str| matches!(name, "cpu" | "memory") || name.starts_with("hugepages-");
    let Some(limits) = spec.get("resources").and_then(|r| r.get("limits")).and_then(Value::as_object).cloned() else {
        return;
    };
    let sums = container_requests(spec);
    let Some(requests) = child(spec, "resources").and_then(|r| ensure(r, "requests")) else {
        return;
    };
    for (name, amount) in sums.iter().filter(|(name, _)| pod_level(name)) {
        requests.entry(name.clone()).or_insert_with(|| amount.to_string().into());
    }
    for (name, limit) in limits.iter().filter(|(name, _)| pod_level(name)) {
        requests.entry(name.clone()).or_insert_with(|| limit.clone());
    }
}

/// What the containers request together; init containers only where they ask for more at once.
fn container_requests(spec: &Object) -> std::collections::BTreeMap<String, Quantity> {
    let mut sums = std::collections::BTreeMap::<String, Quantity>::new();
    let requests = |list: &str| {
        let containers = spec.get(list).and_then(Value::as_array).into_iter().flatten();
        containers.map(|c| {
            (
                c.get("restartPolicy").is_some(),
                c.get("resources").and_then(|r| r.get("requests")).and_then(Value::as_object),
            )
        })
    };
    let amount = |value: &Value| value.as_str().and_then(|t| t.parse::<Quantity>().ok()).unwrap_or_default();
    for (_, map) in requests("containers").chain(requests("initContainers").filter(|(sidecar, _)| *sidecar)) {
        for (name, value) in map.into_iter().flatten() {
            *sums.entry(name.clone()).or_default() += amount(value);
        }
    }
    for (_, map) in requests("initContainers").filter(|(sidecar, _)| !*sidecar) {
        for (name, value) in map.into_iter().flatten() {
            let sum = sums.entry(name.clone()).or_default();
            *sum = (*sum).max(amount(value));
        }
    }
    sums
}

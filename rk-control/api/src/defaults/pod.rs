//! Pods, and the pod templates of workloads.

use serde_json::{Value, json};

use super::edit::{both, child, default, each, empty, ensure};
use super::{container, volume};
use crate::Object;
use crate::meta::{at, list};
use crate::validate::needed;

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
    pod_level(spec);
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

/// Resources of the pod as a whole that are left out: of huge pages it may have what its containers may together, and it asks for
/// what they ask for together, else for its limits.
fn pod_level(spec: &mut Object) {
    if !spec.contains_key("resources") {
        return;
    }
    let whole = Value::Object(spec.clone());
    let Some(own) = child(spec, "resources") else { return };
    if empty(own, "limits") && empty(own, "requests") {
        return;
    }
    let huge = |name: &str| name.starts_with("hugepages-");
    for name in named(&whole, "limits").filter(|name| huge(name)) {
        let asked = own.get("requests").is_some_and(|requests| requests.get(name).is_some());
        if !asked && let Some(limits) = ensure(own, "limits") {
            limits.entry(name).or_insert_with(|| needed(&whole, "limits", name).to_string().into());
        }
    }
    let Some(limits) = own.get("limits").and_then(Value::as_object).filter(|limits| !limits.is_empty()).cloned() else {
        return;
    };
    let Some(requests) = ensure(own, "requests") else { return };
    let shared = |name: &str| matches!(name, "cpu" | "memory");
    for name in named(&whole, "requests").filter(|name| shared(name)) {
        requests.entry(name).or_insert_with(|| needed(&whole, "requests", name).to_string().into());
    }
    for (name, limit) in limits.iter().filter(|(name, _)| shared(name) || huge(name)) {
        requests.entry(name.as_str()).or_insert_with(|| limit.clone());
    }
}

/// The resources that containers name; those of several come several times.
fn named<'a>(spec: &'a Value, side: &'a str) -> impl Iterator<Item = &'a str> {
    let containers = ["initContainers", "containers"].into_iter().flat_map(move |kind| list(spec, &[kind]));
    let asked = containers.filter_map(move |container| at(container, &["resources", side]).as_object());
    asked.flat_map(|all| all.keys().map(String::as_str))
}

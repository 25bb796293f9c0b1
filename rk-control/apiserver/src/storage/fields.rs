//! The fields that field selectors may look at, per resource; the cache keeps these apart so that selecting parses nothing.

use rk_api::resources::Resource;
use serde_json::{Map, Value};

const POD: &[&str] = &[
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.podIPs",
    "status.nominatedNodeName",
];
const EVENT: &[&str] = &["involvedObject", "reason", "reportingComponent", "source", "type"];

/// Paths beside `metadata.name`, `metadata.namespace` and the labels.
fn paths(hub: &Resource) -> &'static [&'static str] {
    match (&*hub.gvk.group, &*hub.plural) {
        ("", "pods") => POD,
        ("", "events") => EVENT,
        ("", "nodes") => &["spec.unschedulable"],
        ("", "secrets") => &["type"],
        ("", "services") => {
            &["spec.clusterIP", "spec.clusterIPs", "spec.type", "spec.ports", "spec.healthCheckNodePort"]
        }
        ("", "namespaces") => &["status.phase"],
        ("", "replicationcontrollers") | ("apps", "replicasets") => &["status.replicas"],
        ("batch", "jobs") => &["status.successful", "status.succeeded"],
        ("certificates.k8s.io", "certificatesigningrequests") => &["spec.signerName"],
        ("certificates.k8s.io", _) => &["spec.signerName", "spec.nodeName"],
        ("networking.k8s.io", "ipaddresses") => &["spec.parentRef"],
        ("resource.k8s.io", "resourceslices") => &["spec.nodeName", "spec.driver"],
        _ => &[],
    }
}

/// Copies what stands at a path of any depth.
fn copy(from: &Value, to: &mut Map<String, Value>, path: &str) {
    let (section, rest) = path.split_once('.').unwrap_or((path, ""));
    let Some(value) = from.get(section) else { return };
    if rest.is_empty() {
        to.insert(section.to_owned(), value.clone());
    } else if let Some(inner) = to.entry(section).or_insert_with(|| Value::Object(Map::new())).as_object_mut() {
        copy(value, inner, rest);
    }
}

/// An object reduced to what selectors look at.
pub(super) fn reduce(hub: &Resource, object: &Value) -> Value {
    let mut metadata = Map::new();
    for field in ["name", "namespace", "labels"] {
        if let Some(value) = object.get("metadata").and_then(|metadata| metadata.get(field)) {
            metadata.insert(field.to_owned(), value.clone());
        }
    }
    let mut out = Map::new();
    out.insert("metadata".to_owned(), Value::Object(metadata));
    for path in hub.custom.iter().flat_map(|custom| &custom.selectable) {
        copy(object, &mut out, path);
    }
    for path in paths(hub) {
        let (section, field) = path.split_once('.').unwrap_or((path, ""));
        let Some(value) = object.get(section) else { continue };
        if field.is_empty() {
            out.insert(section.to_owned(), value.clone());
        } else if let Some(value) = value.get(field) {
            let section = out.entry(section).or_insert_with(|| Value::Object(Map::new()));
            if let Some(section) = section.as_object_mut() {
                section.insert(field.to_owned(), value.clone());
            }
        }
    }
    Value::Object(out)
}

//! Kinds whose preparation is their own.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::meta::{at, set, text};
use crate::resources::Resource;

/// Namespace: the namespace controller's finalizer holds it until its content is gone.
pub(super) fn namespace_create(object: &mut Value) {
    let mut finalizers = at(object, &["spec", "finalizers"]).as_array().cloned().unwrap_or_default();
    if !finalizers.iter().any(|finalizer| finalizer == "kubernetes") {
        finalizers.push(json!("kubernetes"));
    }
    set(object, &["spec", "finalizers"], finalizers);
}

/// Secret: `stringData` is written into `data`.
pub(super) fn secret_data(object: &mut Value) {
    let Some(secret) = object.as_object_mut() else { return };
    let Some(Value::Object(strings)) = secret.remove("stringData") else { return };
    let data = secret.entry("data").or_insert_with(|| json!({}));
    if data.is_null() {
        *data = json!({});
    }
    let Some(data) = data.as_object_mut() else { return };
    for (key, value) in strings {
        data.insert(key, STANDARD.encode(value.as_str().unwrap_or_default()).into());
    }
}

/// CustomResourceDefinition: the storage version counts as stored from the start.
pub(super) fn crd_create(object: &mut Value) {
    let versions = at(object, &["spec", "versions"]).as_array().into_iter().flatten();
    let stored: Vec<Value> =
        versions.filter(|v| v.get("storage") == Some(&json!(true))).filter_map(|v| v.get("name").cloned()).collect();
    if let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) {
        status.insert("storedVersions".into(), stored.into());
    }
}

/// CustomResourceDefinition: what is stored from now on is among the stored versions.
pub(super) fn crd_update(new: &mut Value) {
    let mut versions = at(new, &["spec", "versions"]).as_array().into_iter().flatten();
    let storage = versions.find(|v| v.get("storage") == Some(&json!(true)));
    let Some(name) = storage.and_then(|version| version.get("name")).cloned() else { return };
    let mut stored = at(new, &["status", "storedVersions"]).as_array().cloned().unwrap_or_default();
    if !stored.contains(&name) {
        stored.push(name);
        set(new, &["status", "storedVersions"], stored);
    }
}

/// CustomResourceDefinition: who says in its status that nothing is stored is taken to mean what is stored from now on.
pub(super) fn crd_status(new: &mut Value) {
    if at(new, &["status", "storedVersions"]).as_array().is_none_or(Vec::is_empty) {
        crd_update(new);
    }
}

/// APIService: local ones are available at once.
pub(super) fn api_service_create(object: &mut Value) {
    if at(object, &["spec", "service"]).is_null() {
        let status = json!({"conditions": [{
            "type": "Available", "status": "True", "reason": "Local", "message": "Local APIServices are always available",
            "lastTransitionTime": at(object, &["metadata", "creationTimestamp"]),
        }]});
        set(object, &["status"], status);
    }
}

/// Job: unless the author chose a selector, pods are found by the job's uid.
pub(super) fn job_create(object: &mut Value) {
    let manual = at(object, &["spec", "manualSelector"]).as_bool().unwrap_or(false);
    let (name, uid) = (text(object, &["metadata", "name"]).to_owned(), text(object, &["metadata", "uid"]).to_owned());
    if manual || uid.is_empty() {
        return;
    }
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return };
    // What the author says besides stays: validation tells that it is not what is generated.
    let selector = spec.entry("selector").or_insert_with(|| json!({}));
    if selector.is_null() {
        *selector = json!({});
    }
    let Some(labels) = selector.as_object_mut().map(|s| s.entry("matchLabels").or_insert_with(|| json!({}))) else {
        return;
    };
    let Some(labels) = labels.as_object_mut() else { return };
    labels.entry("batch.kubernetes.io/controller-uid").or_insert_with(|| json!(uid));
    let Some(template) = spec.get_mut("template").and_then(Value::as_object_mut) else { return };
    let metadata = template.entry("metadata").or_insert_with(|| json!({}));
    let Some(labels) = metadata.as_object_mut().map(|m| m.entry("labels").or_insert_with(|| json!({}))) else { return };
    let Some(labels) = labels.as_object_mut() else { return };
    for (key, value) in [
        ("controller-uid", &uid),
        ("batch.kubernetes.io/controller-uid", &uid),
        ("job-name", &name),
        ("batch.kubernetes.io/job-name", &name),
    ] {
        labels.entry(key).or_insert_with(|| json!(value));
    }
    // A Job without labels has those of its pods, these among them.
    let labels = labels.clone();
    if at(object, &["metadata", "labels"]).as_object().is_none_or(|own| own.is_empty()) {
        set(object, &["metadata", "labels"], labels);
    }
}

fn is_approval(condition: &Value) -> bool {
    matches!(text(condition, &["type"]), "Approved" | "Denied")
}

/// CertificateSigningRequest, `status`: approval conditions stay as they were.
pub(super) fn keep_approval(new: &mut Value, old: &Value) {
    let conditions = |o: &Value| at(o, &["status", "conditions"]).as_array().cloned().unwrap_or_default();
    let mut merged: Vec<Value> = conditions(old).into_iter().filter(is_approval).collect();
    merged.extend(conditions(new).into_iter().filter(|c| !is_approval(c)));
    set_conditions(new, merged);
}

/// CertificateSigningRequest, `approval`: everything but the conditions stays as it was.
pub(super) fn keep_all_but_conditions(new: &mut Value, old: &Value) {
    let conditions = at(new, &["status", "conditions"]).as_array().cloned().unwrap_or_default();
    let metadata = new.get("metadata").cloned();
    *new = old.clone();
    if let Some(metadata) = metadata {
        set(new, &["metadata"], metadata);
    }
    set_conditions(new, conditions);
}

/// Writes times that the server alone tells: when a condition of a CertificateSigningRequest was updated and came to be, and since
/// when a PersistentVolume is in its phase.
pub fn stamp(resource: &Resource, new: &mut Value, old: &Value, now: jiff::Timestamp) {
    let now = crate::meta::format_time(now);
    match (&*resource.gvk.group, &*resource.gvk.kind) {
        ("certificates.k8s.io", "CertificateSigningRequest") => conditions(new, old, &now),
        ("", "PersistentVolume") => super::volume::stamp(new, old, &now),
        _ => {}
    }
}

fn conditions(new: &mut Value, old: &Value, now: &str) {
    let before = at(old, &["status", "conditions"]).as_array().cloned().unwrap_or_default();
    let conditions = new.get_mut("status").and_then(|s| s.get_mut("conditions")).and_then(Value::as_array_mut);
    let said = |condition: &Value| ["type", "status"].map(|key| text(condition, &[key]).to_owned());
    // Of several that say the same the first counts.
    let times: BTreeMap<[String; 2], &Value> =
        before.iter().rev().map(|c| (said(c), at(c, &["lastTransitionTime"]))).collect();
    for condition in conditions.into_iter().flatten() {
        let since = times.get(&said(condition)).map(|time| (*time).clone());
        let since = since.filter(|time| !time.is_null()).unwrap_or_else(|| json!(now));
        let Some(condition) = condition.as_object_mut() else { continue };
        for (key, time) in [("lastUpdateTime", json!(now)), ("lastTransitionTime", since)] {
            if condition.get(key).is_none_or(Value::is_null) {
                condition.insert(key.into(), time);
            }
        }
    }
}

fn set_conditions(object: &mut Value, conditions: Vec<Value>) {
    let Some(root) = object.as_object_mut() else { return };
    let status = root.entry("status").or_insert_with(|| json!({}));
    let Some(status) = status.as_object_mut() else { return };
    if conditions.is_empty() {
        status.remove("conditions");
    } else {
        status.insert("conditions".into(), conditions.into());
    }
}

/// ResourceClaim, `status`: what drivers tell of devices goes with their allocation.
pub(super) fn drop_deallocated(new: &mut Value, old: &Value) {
    let identity = |device: &Value| ["driver", "pool", "device"].map(|key| text(device, &[key]).to_owned());
    let allocated = |claim: &Value| -> BTreeSet<[String; 3]> {
        let results = at(claim, &["status", "allocation", "devices", "results"]).as_array();
        results.into_iter().flatten().map(identity).collect()
    };
    let (before, after) = (allocated(old), allocated(new));
    let gone = |device: &Value| before.contains(&identity(device)) && !after.contains(&identity(device));
    let Some(status) = new.get_mut("status").and_then(Value::as_object_mut) else { return };
    let Some(devices) = status.get_mut("devices").and_then(Value::as_array_mut) else { return };
    devices.retain(|device| !gone(device));
    if devices.is_empty() {
        status.remove("devices");
    }
}

/// The annotation that counts changes of a DaemonSet's template; a field in versions of old.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// DaemonSet: counts changes of its template. `old` is `None` on creation.
pub(super) fn template_generation(object: &mut Value, old: Option<&Value>) {
    let count = |o: &Value| text(o, &["metadata", "annotations", TEMPLATE_GENERATION]).parse::<i64>().unwrap_or(1);
    let generation = match old {
        None => count(object).max(1),
        Some(old) if at(old, &["spec", "template"]) == at(object, &["spec", "template"]) => count(old),
        Some(old) => count(old) + 1,
    };
    set(object, &["metadata", "annotations", TEMPLATE_GENERATION], generation.to_string());
}

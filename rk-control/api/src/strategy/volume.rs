//! Persistent volumes and claims.

use serde_json::{Value, json};

use crate::meta::{at, set, text};

const SINCE: [&str; 2] = ["status", "lastPhaseTransitionTime"];

/// PersistentVolume: it has been in its first phase since it was made.
pub(super) fn create(volume: &mut Value) {
    let now = at(volume, &["metadata", "creationTimestamp"]).clone();
    if !now.is_null() {
        set(volume, &SINCE, now);
    }
}

/// PersistentVolume, `status`: tells since when the phase is what it is, unless the client does.
pub(super) fn stamp(new: &mut Value, old: &Value, now: &str) {
    let (since, before) = (at(new, &SINCE).clone(), at(old, &SINCE).clone());
    let same = text(new, &["status", "phase"]) == text(old, &["status", "phase"]);
    if same && since.is_null() && !before.is_null() {
        set(new, &SINCE, before);
    } else if !same && (since.is_null() || since == before) {
        set(new, &SINCE, now);
    }
}

/// PersistentVolumeClaim: a data source and its newer name say the same (KEP-1495). What the older one cannot name goes, unless it
/// was there before.
pub(crate) fn sources(claim: &mut Value, old: Option<&Value>) {
    let set_before = |key| old.is_some_and(|old| !at(old, &["spec", key]).is_null());
    let before = set_before("dataSource") || set_before("dataSourceRef");
    let Some(spec) = claim.get_mut("spec").and_then(Value::as_object_mut) else { return };
    if !before && spec.get("dataSource").is_some_and(|source| !is_claim_or_snapshot(source)) {
        spec.remove("dataSource");
    }
    let (source, reference) = (spec.get("dataSource").cloned(), spec.get("dataSourceRef").cloned());
    match (source, reference) {
        (Some(source), None) => drop(spec.insert("dataSourceRef".into(), source)),
        (None, Some(reference)) if text(&reference, &["namespace"]).is_empty() => {
            let mut source = reference;
            if let Some(source) = source.as_object_mut() {
                source.remove("namespace");
            }
            spec.insert("dataSource".into(), source);
        }
        _ => {}
    }
}

fn is_claim_or_snapshot(source: &Value) -> bool {
    let pair = json!([text(source, &["apiGroup"]), text(source, &["kind"])]);
    pair == json!(["", "PersistentVolumeClaim"]) || pair == json!(["snapshot.storage.k8s.io", "VolumeSnapshot"])
}

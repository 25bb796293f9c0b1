//! Events.

use serde_json::Value;

use super::get::{int, text};
use crate::meta::{at, qualified_name};
use crate::status::{FieldErrors, Path};

/// A core Event lives in the namespace of what it is about (`default` for what has none).
pub(super) fn core(object: &Value, errors: &mut FieldErrors) {
    let about = at(object, &["involvedObject"]);
    let (namespace, own) = (text(about, "namespace"), text(at(object, &["metadata"]), "namespace"));
    let path = Path::new("involvedObject");
    // Events about cluster-scoped objects stand in `default` or `kube-system`.
    let fits = if namespace.is_empty() { matches!(own, "default" | "kube-system" | "") } else { namespace == own };
    if !fits {
        errors.invalid(&path.child("namespace"), namespace, "does not match event.namespace");
    }
    if !at(object, &["eventTime"]).is_null() {
        reporting(object, "reportingComponent", "reason", errors);
    }
}

/// An `events.k8s.io` Event says who reports, what was done and why.
pub(super) fn new(object: &Value, errors: &mut FieldErrors) {
    let about = at(object, &["regarding"]);
    let (namespace, own) = (text(about, "namespace"), text(at(object, &["metadata"]), "namespace"));
    let fits = if namespace.is_empty() { matches!(own, "default" | "kube-system" | "") } else { namespace == own };
    if !fits {
        let path = Path::new("regarding");
        errors.invalid(&path.child("namespace"), namespace, "does not match event.namespace");
    }
    if at(object, &["eventTime"]).is_null() {
        errors.required(&Path::new("eventTime"), "");
        return;
    }
    reporting(object, "reportingController", "reason", errors);
    let note = text(object, "note");
    if note.len() > 1024 {
        errors.invalid(&Path::new("note"), "", "can have at most 1024 characters");
    }
    match text(object, "type") {
        "Normal" | "Warning" => {}
        other => errors.invalid(&Path::new("type"), other, "has invalid value"),
    }
}

fn reporting(object: &Value, controller: &str, reason: &str, errors: &mut FieldErrors) {
    if text(object, controller).is_empty() {
        errors.required(&Path::new("reportingController"), "");
    } else {
        for rule in qualified_name(text(object, controller)) {
            errors.invalid(&Path::new("reportingController"), text(object, controller), rule);
        }
    }
    for (field, name, required) in
        [("reportingInstance", "reportingInstance", true), ("action", "action", true), (reason, "reason", true)]
    {
        let value = text(object, field);
        if value.is_empty() && required {
            errors.required(&Path::new(name), "");
        } else if value.len() > 128 {
            errors.invalid(&Path::new(name), value, "can have at most 128 characters");
        }
    }
    if let Some(count) = int(at(object, &["series"]), "count").filter(|c| *c < 2) {
        let path = Path::new("series");
        errors.invalid(&path.child("count"), count, "should be at least 2");
    }
}

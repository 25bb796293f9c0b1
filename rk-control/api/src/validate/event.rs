//! Events.

use serde_json::Value;

use super::get::{int, text};
use crate::meta::{at, qualified_name};
use crate::status::{FieldErrors, Path};

/// A core Event lives in the namespace of what it is about (`default` for what has none).
pub(super) fn core(object: &Value, errors: &mut FieldErrors) {
    legacy(object, "involvedObject", "reportingComponent", "message", errors);
}

/// What every Event must be. Refusals name fields as the form does from which upstream makes both.
fn legacy(object: &Value, about: &str, controller: &str, message: &str, errors: &mut FieldErrors) {
    let (namespace, own) = (text(at(object, &[about]), "namespace"), text(at(object, &["metadata"]), "namespace"));
    let timed = !at(object, &["eventTime"]).is_null();
    let fits = match (timed, namespace.is_empty()) {
        (false, true) => matches!(own, "default" | ""),
        (false, false) => namespace == own,
        (true, true) => matches!(own, "default" | "kube-system"),
        (true, false) => true,
    };
    if !fits {
        let path = Path::new("involvedObject");
        errors.invalid(&path.child("namespace"), namespace, "does not match event.namespace");
    }
    if !timed {
        return;
    }
    let reporter = text(object, controller);
    if reporter.is_empty() {
        errors.required(&Path::new("reportingController"), "");
    }
    for rule in qualified_name(reporter) {
        errors.invalid(&Path::new("reportingController"), reporter, rule);
    }
    for name in ["reportingInstance", "action", "reason"] {
        let value = text(object, name);
        if value.is_empty() {
            errors.required(&Path::new(name), "");
        } else if value.len() > 128 {
            errors.invalid(&Path::new(name), "", "can have at most 128 characters");
        }
    }
    if text(object, message).len() > 1024 {
        errors.invalid(&Path::new("message"), "", "can have at most 1024 characters");
    }
}

/// An `events.k8s.io` Event says who reports, what was done and why.
pub(super) fn new(object: &Value, errors: &mut FieldErrors) {
    legacy(object, "regarding", "reportingController", "note", errors);
    if let Some(series) = object.get("series").filter(|series| !series.is_null()) {
        let path = Path::new("series");
        if int(series, "count").unwrap_or(0) < 2 {
            errors.invalid(&path.child("count"), "", "should be at least 2");
        }
        if at(series, &["lastObservedTime"]).is_null() {
            errors.required(&path.child("lastObservedTime"), "");
        }
    }
    if at(object, &["eventTime"]).is_null() {
        errors.required(&Path::new("eventTime"), "");
    }
    match text(object, "type") {
        "Normal" | "Warning" => {}
        other => errors.invalid(&Path::new("type"), "", format!("has invalid value: {other}")),
    }
}

//! Events.

use serde_json::Value;

use super::get::{field, immutable, int, named, text};
use crate::meta::{at, dns1123_subdomain, qualified_name};
use crate::resources::Resource;
use crate::status::{FieldErrors, Path};

/// Longest reason, action and name of who reports, in bytes.
const MAX_WORD: usize = 128;
/// Longest message, in bytes.
const MAX_NOTE: usize = 1024;
/// What of an Event stays as it was reported.
const REPORTED: [&str; 13] = [
    "involvedObject",
    "reason",
    "message",
    "source",
    "firstTimestamp",
    "lastTimestamp",
    "count",
    "type",
    "eventTime",
    "action",
    "related",
    "reportingComponent",
    "reportingInstance",
];

/// What every Event must be, in the form in which it is stored.
pub(super) fn event(object: &Value, errors: &mut FieldErrors) {
    let new = field(object, "eventTime").is_some();
    let (namespace, own) =
        (text(at(object, &["involvedObject"]), "namespace"), text(at(object, &["metadata"]), "namespace"));
    // Events about what has no namespace stand in `default`, those of new also in `kube-system`.
    let fits = match namespace {
        "" => matches!(own, "default" | "") || (new && own == "kube-system"),
        _ => new || namespace == own,
    };
    if !fits {
        let path = Path::new("involvedObject");
        errors.invalid(&path.child("namespace"), namespace, "does not match event.namespace");
    }
    named(errors, &Path::new("namespace"), own, dns1123_subdomain(own));
}

/// What an Event must be besides when it has the time of `events.k8s.io`. `requested` is the kind as the client names it: who
/// reports has another name in each of the two.
fn reported(object: &Value, requested: &Resource, errors: &mut FieldErrors) {
    if field(object, "eventTime").is_none() {
        return;
    }
    let core = requested.gvk.group.is_empty();
    let path = Path::new(if core { "reportingComponent" } else { "reportingController" });
    let controller = text(object, "reportingComponent");
    if controller.is_empty() {
        errors.required(&path, "");
    }
    named(errors, &path, controller, qualified_name(controller));
    for key in ["reportingInstance", "action", "reason"] {
        let value = text(object, key);
        if value.is_empty() {
            errors.required(&Path::new(key), "");
        }
        bounded(value, MAX_WORD, &Path::new(key), errors);
    }
    bounded(text(object, "message"), MAX_NOTE, &Path::new("message"), errors);
}

fn bounded(value: &str, most: usize, path: &Path<'_>, errors: &mut FieldErrors) {
    if value.len() > most {
        errors.invalid(path, "", format!("can have at most {most} characters"));
    }
}

/// What a new Event must be; `events.k8s.io` is stricter than the core group.
pub(super) fn create(object: &Value, requested: &Resource, errors: &mut FieldErrors) {
    reported(object, requested, errors);
    if requested.gvk.group.is_empty() {
        return;
    }
    series(object, errors);
    if field(object, "eventTime").is_none() {
        errors.required(&Path::new("eventTime"), "");
    }
    let kind = text(object, "type");
    if !matches!(kind, "Normal" | "Warning") {
        errors.invalid(&Path::new("type"), "", format!("has invalid value: {kind}"));
    }
    let source = at(object, &["source"]);
    let sourced = !text(source, "component").is_empty() || !text(source, "host").is_empty();
    for (key, set) in [
        ("firstTimestamp", field(object, "firstTimestamp").is_some()),
        ("lastTimestamp", field(object, "lastTimestamp").is_some()),
        ("count", int(object, "count").is_some_and(|count| count != 0)),
        ("source", sourced),
    ] {
        if set {
            errors.invalid(&Path::new(key), "", "needs to be unset");
        }
    }
}

/// What may not change; in `events.k8s.io` an Event gains nothing but repetitions.
pub(super) fn update(new: &Value, old: &Value, requested: &Resource, errors: &mut FieldErrors) {
    reported(new, requested, errors);
    if requested.gvk.group.is_empty() {
        return;
    }
    if field(new, "series") != field(old, "series") {
        series(new, errors);
    }
    for key in REPORTED {
        let shown = if key == "reportingComponent" { "reportingController" } else { key };
        immutable(errors, &Path::new(shown), said(new, key), said(old, key));
    }
}

/// A field that is not empty: an empty one counts as absent.
fn said<'a>(object: &'a Value, key: &str) -> Option<&'a Value> {
    field(object, key).filter(|value| match value {
        Value::Object(map) => !map.is_empty(),
        Value::String(text) => !text.is_empty(),
        Value::Number(number) => number.as_i64() != Some(0),
        _ => true,
    })
}

fn series(object: &Value, errors: &mut FieldErrors) {
    let Some(series) = field(object, "series") else { return };
    if int(series, "count").unwrap_or(0) < 2 {
        errors.invalid(&Path::new("series.count"), "", "should be at least 2");
    }
    if field(series, "lastObservedTime").is_none() {
        errors.required(&Path::new("series.lastObservedTime"), "");
    }
}

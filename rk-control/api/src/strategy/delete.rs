//! Deletion.

use serde_json::Value;

use crate::meta::{at, text};
use crate::resources::Resource;
use crate::status::Status;

/// Grace period in seconds with which a DELETE of this object is carried out; `None`: the kind has no graceful deletion.
/// `wanted` is `gracePeriodSeconds` of the delete options.
///
/// # Errors
/// None today; kinds that refuse a grace period would say so here.
pub fn grace_period(resource: &Resource, object: &Value, wanted: Option<i64>) -> Result<Option<i64>, Status> {
    if resource.gvk.kind != "Pod" || !resource.gvk.group.is_empty() {
        return Ok(None);
    }
    let period = wanted.or_else(|| at(object, &["spec", "terminationGracePeriodSeconds"]).as_i64()).unwrap_or(0);
    let unscheduled = text(object, &["spec", "nodeName"]).is_empty();
    let finished = matches!(text(object, &["status", "phase"]), "Succeeded" | "Failed");
    if unscheduled || finished {
        return Ok(Some(0));
    }
    // A negative period means "at once, but tell the node", as upstream has it.
    Ok(Some(if period < 0 { 1 } else { period }))
}

/// The propagation policy of a DELETE that names none (`Background`, or `Orphan` for kinds of old); `Unsupported` where none means anything.
pub fn default_propagation(resource: &Resource) -> &'static str {
    match (&*resource.gvk.group, &*resource.gvk.kind) {
        ("", "ReplicationController") | ("batch", "Job") => "Orphan",
        ("" | "events.k8s.io", "Event") => "Unsupported",
        _ => "Background",
    }
}

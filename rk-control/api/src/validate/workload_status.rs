//! Status of Deployments, ReplicaSets, StatefulSets, DaemonSets and ReplicationControllers.

use serde_json::Value;

use super::get::{entries, int, non_negative, text};
use crate::meta::at;
use crate::status::{FieldErrors, Path};

/// Counters in a workload's status.
pub(super) fn update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let path = Path::new("status");
    for (key, value) in entries(new, "status") {
        non_negative(errors, &path.child(key), value.as_i64());
    }
    // One that is taken away is less than any.
    let collisions = |object: &Value| int(at(object, &["status"]), "collisionCount");
    if collisions(new) < collisions(old) {
        errors.invalid(&path.child("collisionCount"), collisions(new).unwrap_or(0), "cannot be decremented");
    }
    if text(new, "kind") == "DaemonSet" {
        return;
    }
    let status = at(new, &["status"]);
    let count = |key: &str| int(status, key).unwrap_or(0);
    for key in ["updatedReplicas", "fullyLabeledReplicas", "readyReplicas", "currentReplicas", "availableReplicas"] {
        if count(key) > count("replicas") {
            errors.invalid(&path.child(key), count(key), "cannot be greater than status.replicas");
        }
    }
    if count("availableReplicas") > count("readyReplicas") {
        let of = if text(new, "kind") == "StatefulSet" { "status.readyReplicas" } else { "readyReplicas" };
        let why = format!("cannot be greater than {of}");
        errors.invalid(&path.child("availableReplicas"), count("availableReplicas"), why);
    }
}

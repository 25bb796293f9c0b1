//! Annotations of pods that mean something to the system.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::get::{entries, list, text};
use crate::meta::at;
use crate::status::{FieldErrors, Path};

/// Marks the copy of a pod that its node has from a file.
pub(super) const MIRROR: &str = "kubernetes.io/config.mirror";
/// What it costs to delete a pod, beside its siblings.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
/// The profile of a container, before there was a field for it.
const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// Annotations of a pod or template.
pub(super) fn check(metadata: &Value, spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let mut known: Option<BTreeSet<&str>> = None;
    for (key, value) in entries(metadata, "annotations") {
        let value = value.as_str().unwrap_or_default();
        let here = path.key(key);
        if key == MIRROR && text(spec, "nodeName").is_empty() {
            errors.invalid(&here, value, "must set spec.nodeName if mirror pod annotation is set");
        }
        if key == DELETION_COST && !is_cost(value) {
            errors.invalid(&here, value, "must be a 32bit integer");
        }
        if let Some(container) = key.strip_prefix(APP_ARMOR) {
            if !known.get_or_insert_with(|| containers(spec)).contains(container) {
                errors.invalid(&here, container, "container not found");
            }
            if !matches!(value, "" | "runtime/default" | "unconfined") && !value.starts_with("localhost/") {
                errors.invalid(&here, value, format!("invalid AppArmor profile name: {value:?}"));
            }
        }
    }
}

/// A number without a plus sign or zeros in front.
fn is_cost(value: &str) -> bool {
    let begins_well = value == "0" || value.starts_with(|first: char| first == '-' || ('1'..='9').contains(&first));
    begins_well && value.parse::<i32>().is_ok()
}

fn containers(spec: &Value) -> BTreeSet<&str> {
    let kinds = ["initContainers", "containers", "ephemeralContainers"];
    kinds.iter().flat_map(|kind| list(spec, kind)).map(|container| text(container, "name")).collect()
}

/// What says where a pod is from, and how it is confined, is written once.
pub(super) fn update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let (new, old) = (at(new, &["metadata"]), at(old, &["metadata"]));
    let path = Path::new("metadata");
    let path = path.child("annotations");
    for (key, value) in entries(old, "annotations") {
        if at(new, &["annotations", key]) == value {
            continue;
        }
        if key.starts_with(APP_ARMOR) {
            errors.forbidden(&path.key(key), "may not remove or update AppArmor annotations");
        }
        if key == MIRROR {
            errors.forbidden(&path.key(key), "may not remove or update mirror pod annotation");
        }
    }
    for (key, _) in entries(new, "annotations").filter(|(key, _)| at(old, &["annotations", key]).is_null()) {
        if key.starts_with(APP_ARMOR) {
            errors.forbidden(&path.key(key), "may not add AppArmor annotations");
        }
        if key == MIRROR {
            errors.forbidden(&path.key(key), "may not add mirror pod annotation");
        }
    }
}

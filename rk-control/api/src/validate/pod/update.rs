//! What may change in a pod that exists.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::get::{field, int, list, text};
use super::{annotations, gated};
use crate::meta::at;
use crate::status::{FieldErrors, Path};

/// The sentence that lists what may change; clients know it.
const ALLOWED: &str = "pod updates may not change fields other than \
                       `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
                       `spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// A pod's spec is fixed but for images, deadlines that shrink, added tolerations and gates that open.
pub(in super::super) fn update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    annotations::update(new, old, errors);
    let (new, old) = (at(new, &["spec"]), at(old, &["spec"]));
    let path = Path::new("spec");
    for kind in ["containers", "initContainers"] {
        if list(new, kind).len() != list(old, kind).len() {
            errors.forbidden(&path.child(kind), "pod updates may not add or remove containers");
            return;
        }
    }
    deadline(new, old, &path, errors);
    let tolerated: BTreeSet<[&str; 4]> = list(new, "tolerations").iter().map(tolerates).collect();
    if !list(old, "tolerations").iter().all(|t| tolerated.contains(&tolerates(t))) {
        errors.forbidden(
            &path.child("tolerations"),
            "existing toleration can not be modified except its tolerationSeconds",
        );
    }
    let old_gates: BTreeSet<&str> = list(old, "schedulingGates").iter().map(|g| text(g, "name")).collect();
    let gates = list(new, "schedulingGates").iter().map(|g| text(g, "name")).enumerate();
    for (index, gate) in gates.filter(|(_, gate)| !old_gates.contains(gate)) {
        let why = format!("only deletion is allowed, but found new scheduling gate '{gate}'");
        errors.forbidden(&path.child("schedulingGates").index(index).child("name"), why);
    }
    let gated = !old_gates.is_empty();
    if gated {
        gated::narrowed(new, old, &path, errors);
    }
    let mut expected = old.clone();
    copy_allowed(&mut expected, new, gated);
    if expected != *new {
        errors.forbidden(&path, format!("{ALLOWED}\n{}", difference(&expected, new)));
    }
}

/// What a toleration tolerates; for how long may change.
fn tolerates(toleration: &Value) -> [&str; 4] {
    ["key", "operator", "value", "effect"].map(|key| text(toleration, key))
}

fn deadline(new: &Value, old: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let path = path.child("activeDeadlineSeconds");
    match (int(new, "activeDeadlineSeconds"), int(old, "activeDeadlineSeconds")) {
        (Some(new), Some(old)) if new > old => {
            errors.invalid(&path, new, "must be less than or equal to previous value");
        }
        (None, Some(_)) => errors.invalid(&path, Value::Null, "must not update from a positive integer to nil value"),
        _ => {}
    }
}

/// Carries what may change from `new` into a copy of `old`; what then still differs may not.
fn copy_allowed(expected: &mut Value, new: &Value, gated: bool) {
    let Some(spec) = expected.as_object_mut() else { return };
    let mut keys = vec!["activeDeadlineSeconds", "tolerations", "schedulingGates"];
    let grace = "terminationGracePeriodSeconds";
    if spec.get(grace).and_then(Value::as_i64).is_some_and(|s| s < 0) && int(new, grace) == Some(1) {
        keys.push(grace);
    }
    if gated {
        // A pod that no scheduler has seen may still be narrowed.
        keys.push("nodeSelector");
        gated::take_node_affinity(spec, new);
    }
    for key in keys {
        match field(new, key) {
            Some(value) => drop(spec.insert(key.to_owned(), value.clone())),
            None => drop(spec.remove(key)),
        }
    }
    for kind in ["containers", "initContainers"] {
        let images: Vec<Option<Value>> = list(new, kind).iter().map(|c| c.get("image").cloned()).collect();
        let containers = spec.get_mut(kind).and_then(Value::as_array_mut).into_iter().flatten();
        for (container, image) in containers.zip(images) {
            if let (Some(container), Some(image)) = (container.as_object_mut(), image) {
                container.insert("image".into(), image);
            }
        }
    }
}

/// The fields that differ, one per line.
fn difference(old: &Value, new: &Value) -> String {
    let empty = crate::Object::new();
    let (old, new) = (old.as_object().unwrap_or(&empty), new.as_object().unwrap_or(&empty));
    let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    let changed = keys.into_iter().filter(|k| old.get(*k) != new.get(*k));
    changed.map(|k| format!("  spec.{k}")).collect::<Vec<_>>().join("\n")
}

/// Whether the pod is written by its node from a file.
pub(super) fn is_static(pod: &Value) -> bool {
    field(at(pod, &["metadata", "annotations"]), annotations::MIRROR).is_some()
}

/// `ephemeralcontainers`: containers are added, never changed or removed.
pub(in super::super) fn ephemeral_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    if is_static(old) {
        return errors.forbidden(&Path::ROOT, "static pods do not support ephemeral containers");
    }
    super::changed(new, old, errors);
    let path = Path::new("spec");
    let path = path.child("ephemeralContainers");
    // Of several of a name the first counts.
    let added: BTreeMap<&str, &Value> =
        list(at(new, &["spec"]), "ephemeralContainers").iter().rev().map(|c| (text(c, "name"), c)).collect();
    for before in list(at(old, &["spec"]), "ephemeralContainers") {
        let name = text(before, "name");
        match added.get(name).copied() {
            None => errors.forbidden(&path, format!("existing ephemeral containers {name:?} may not be removed\n")),
            Some(now) if now != before => {
                errors.forbidden(&path, format!("existing ephemeral containers {name:?} may not be changed\n"));
            }
            Some(_) => {}
        }
    }
}

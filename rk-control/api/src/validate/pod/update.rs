//! What may change in a pod that exists.

use serde_json::Value;

use super::super::get::{field, int, list, text};
use crate::meta::at;
use crate::status::{FieldErrors, Path};

/// The sentence that lists what may change; clients know it.
const ALLOWED: &str = "pod updates may not change fields other than \
                       `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
                       `spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// A pod's spec is fixed but for images, deadlines that shrink, added tolerations and gates that open.
pub(in super::super) fn update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let (new, old) = (at(new, &["spec"]), at(old, &["spec"]));
    let path = Path::new("spec");
    for kind in ["containers", "initContainers"] {
        if list(new, kind).len() != list(old, kind).len() {
            errors.forbidden(&path.child(kind), format!("pod updates may not add or remove {}", words(kind)));
            return;
        }
    }
    deadline(new, old, &path, errors);
    let added_only =
        list(old, "tolerations").iter().all(|t| list(new, "tolerations").iter().any(|n| same_toleration(n, t)));
    if !added_only {
        errors.forbidden(
            &path.child("tolerations"),
            "existing toleration can not be modified except its tolerationSeconds",
        );
    }
    let gate_names = |spec: &Value| -> Vec<String> {
        list(spec, "schedulingGates").iter().map(|g| text(g, "name").to_owned()).collect()
    };
    let (gates, old_gates) = (gate_names(new), gate_names(old));
    if gates.iter().any(|g| !old_gates.contains(g)) {
        errors.forbidden(&path.child("schedulingGates"), "only deletion is allowed, but found new scheduling gate");
    }
    let gated = !old_gates.is_empty();
    let mut expected = old.clone();
    copy_allowed(&mut expected, new, gated);
    if expected != *new {
        errors.forbidden(&path, format!("{ALLOWED}\n{}", difference(&expected, new)));
    }
}

fn words(kind: &str) -> &str {
    if kind == "containers" { "containers" } else { "init containers" }
}

fn same_toleration(a: &Value, b: &Value) -> bool {
    ["key", "operator", "value", "effect"].iter().all(|k| text(a, k) == text(b, k))
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
    if spec.get("terminationGracePeriodSeconds").and_then(Value::as_i64).is_some_and(|s| s < 0) {
        keys.push("terminationGracePeriodSeconds");
    }
    if gated {
        // A pod that no scheduler has seen may still be narrowed.
        keys.extend(["nodeSelector", "affinity"]);
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

/// `status`: the node of a pod does not change through its status.
pub(in super::super) fn status_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let path = Path::new("status");
    let node = text(at(new, &["status"]), "nominatedNodeName");
    if !node.is_empty() {
        super::super::get::named(errors, &path.child("nominatedNodeName"), node, crate::meta::dns1123_subdomain(node));
    }
    // A container that ended for good does not come back.
    if text(at(old, &["spec"]), "restartPolicy") != "Never" {
        return;
    }
    for old in list(at(old, &["status"]), "containerStatuses") {
        let ended = !at(old, &["state", "terminated"]).is_null();
        let now = list(at(new, &["status"]), "containerStatuses").iter().find(|c| text(c, "name") == text(old, "name"));
        if ended && now.is_some_and(|n| at(n, &["state", "terminated"]).is_null()) {
            errors.forbidden(
                &path.child("containerStatuses").child(text(old, "name")).child("state"),
                "may not be transitioned to non-terminated state",
            );
        }
    }
}

/// `ephemeralcontainers`: containers are added, never changed or removed.
pub(in super::super) fn ephemeral_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    super::pod(new, errors);
    let path = Path::new("spec");
    let path = path.child("ephemeralContainers");
    let added = list(at(new, &["spec"]), "ephemeralContainers");
    for (index, before) in list(at(old, &["spec"]), "ephemeralContainers").iter().enumerate() {
        match added.iter().find(|c| text(c, "name") == text(before, "name")) {
            None => errors.forbidden(
                &path,
                format!("existing ephemeral containers {:?} may not be removed", text(before, "name")),
            ),
            Some(now) if now != before => {
                let why = format!("existing ephemeral containers {:?} may not be changed", text(before, "name"));
                errors.forbidden(&path.index(index), why);
            }
            Some(_) => {}
        }
    }
}

/// `resize`: amounts of cpu and memory change, the quality-of-service class does not.
pub(in super::super) fn resize_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    super::pod(new, errors);
    let path = Path::new("spec");
    if text(at(old, &["spec", "os"]), "name") == "windows" {
        errors.forbidden(&path, "windows pods cannot be resized");
    }
    let (class, before) = (crate::strategy::qos_class(new), crate::strategy::qos_class(old));
    if class != before {
        errors.invalid(&path, class, "Pod QOS Class may not change as a result of resizing");
    }
    for kind in ["containers", "initContainers"] {
        let olds = list(at(old, &["spec"]), kind);
        for (index, (new, old)) in list(at(new, &["spec"]), kind).iter().zip(olds).enumerate() {
            for amounts in ["requests", "limits"] {
                let changed =
                    |name: &&str| at(new, &["resources", amounts, name]) != at(old, &["resources", amounts, name]);
                let names = at(new, &["resources", amounts]).as_object().into_iter().flatten().map(|(k, _)| k.as_str());
                if names.filter(changed).any(|name| !matches!(name, "cpu" | "memory")) {
                    let path = path.child(kind);
                    errors
                        .forbidden(&path.index(index).child("resources"), "only cpu and memory resources are mutable");
                }
            }
        }
    }
}

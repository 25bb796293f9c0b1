//! Claims of persistent volumes.

use serde_json::{Value, json};

use super::get::{entries, field, immutable, named, one_of, text};
use super::selector::label_selector;
use super::storage::amount;
use super::volume::{ATTRIBUTES, VOLUME_MODES, access_modes, proper};
use crate::meta::{at, dns1123_label, dns1123_subdomain, is_native_resource, qualified_name};
use crate::status::{FieldErrors, Path};
use crate::strategy::complete_sources;

/// The annotation that named the class before there was a field.
const OLD_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
/// How far a volume has grown.
const GROWTH: [&str; 5] = [
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizePending",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
];

/// PersistentVolumeClaim.
pub(super) fn claim(object: &Value, errors: &mut FieldErrors) {
    spec(at(object, &["spec"]), &Path::new("spec"), errors);
}

/// The spec of a claim, also inside an ephemeral volume.
pub(super) fn spec(spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    access_modes(spec, "at least 1 access mode is required", path, errors);
    if let Some(selector) = field(spec, "selector") {
        label_selector(selector, &path.child("selector"), errors);
    }
    let here = path.child("resources");
    match field(at(spec, &["resources", "requests"]), "storage") {
        None => errors.required(&here.key("storage"), ""),
        Some(value) if amount(value).is_none_or(|a| a.sign() <= 0) => {
            errors.invalid(&here.key("storage"), value.clone(), "must be greater than zero");
        }
        Some(_) => {}
    }
    let class = text(spec, "storageClassName");
    if !class.is_empty() {
        named(errors, &path.child("storageClassName"), class, dns1123_subdomain(class));
    }
    one_of(errors, &path.child("volumeMode"), text(spec, "volumeMode"), &VOLUME_MODES, false);
    for key in ["dataSource", "dataSourceRef"] {
        if let Some(source) = field(spec, key) {
            let path = path.child(key);
            for part in ["name", "kind"] {
                if text(source, part).is_empty() {
                    errors.required(&path.child(part), "");
                }
            }
            if text(source, "apiGroup").is_empty() && text(source, "kind") != "PersistentVolumeClaim" {
                errors.invalid(
                    &path,
                    text(source, "kind"),
                    "must be 'PersistentVolumeClaim' when referencing the default apiGroup",
                );
            }
            let group = text(source, "apiGroup");
            if !group.is_empty() {
                named(errors, &path.child("apiGroup"), group, dns1123_subdomain(group));
            }
            let namespace = text(source, "namespace");
            if !namespace.is_empty() {
                named(errors, &path.child("namespace"), namespace, dns1123_label(namespace));
            }
        }
    }
    if let (Some(source), Some(reference)) = (field(spec, "dataSource"), field(spec, "dataSourceRef"))
        && text(reference, "namespace").is_empty()
        && ["apiGroup", "kind", "name"].iter().any(|key| source.get(key) != reference.get(key))
    {
        // Upstream shows a path here, and that as an object without fields.
        errors.invalid(path, json!({}), "must match dataSourceRef");
    }
    let attributes = text(spec, ATTRIBUTES);
    if !attributes.is_empty() {
        named(errors, &path.child(ATTRIBUTES), attributes, dns1123_subdomain(attributes));
    }
}

/// Of a claim only the request may grow, and the volume be bound.
pub(super) fn update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    // A claim of an older server may have one of the two data sources only.
    let mut completed = old.clone();
    complete_sources(&mut completed, Some(old));
    let old = &completed;
    let (phase, new_spec, old_spec) = (text(at(old, &["status"]), "phase"), at(new, &["spec"]), at(old, &["spec"]));
    // A class may be given to a claim that never had one, or only by the annotation of old: that one then.
    let noted = |claim: &Value| at(claim, &["metadata", "annotations", OLD_CLASS]).as_str().map(str::to_owned);
    let (had, has) = (noted(old), noted(new));
    let given = field(new_spec, "storageClassName").and_then(Value::as_str);
    let given = given.filter(|class| had.as_ref().is_none_or(|had| had == class));
    let given = given.filter(|_| field(old_spec, "storageClassName").is_none());
    let (before, now) = (had.unwrap_or_default(), has.clone().unwrap_or_default());
    if before != now && (given.is_none() || has.is_some()) {
        let path = Path::new("metadata");
        errors.invalid(&path.child("annotations").child(OLD_CLASS), now, "field is immutable");
    }
    let mut expected = old_spec.clone();
    if let Some(spec) = expected.as_object_mut() {
        let classed = phase == "Bound" && field(new_spec, ATTRIBUTES).is_some();
        for (key, free) in [("volumeName", text(old_spec, "volumeName").is_empty()), (ATTRIBUTES, classed)] {
            if free {
                match field(new_spec, key) {
                    Some(value) => drop(spec.insert(key.to_owned(), value.clone())),
                    None => drop(spec.remove(key)),
                }
            }
        }
        if let Some(class) = given {
            spec.insert("storageClassName".into(), class.into());
        }
    }
    let storage = |spec: &Value| field(at(spec, &["resources", "requests"]), "storage").and_then(amount);
    if phase == "Bound"
        && let (Some(value), Some(slot)) =
            (new_spec.pointer("/resources/requests/storage"), expected.pointer_mut("/resources/requests/storage"))
    {
        *slot = value.clone();
    }
    let path = Path::new("spec");
    if expected != *new_spec {
        errors.forbidden(
            &path,
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims",
        );
    }
    // A failed growth may be asked for anew, smaller, but never below what the volume has (KEP-1790).
    let has = field(at(old, &["status", "capacity"]), "storage").and_then(amount);
    let shrunk = storage(new_spec)
        .zip(storage(old_spec))
        .is_some_and(|(new, old)| new < old && has.is_some_and(|has| new <= has));
    if shrunk {
        let path = path.child("resources");
        errors.forbidden(&path.child("requests").key("storage"), "field can not be less than status.capacity");
    }
    immutable(errors, &Path::new("volumeMode"), field(new_spec, "volumeMode"), field(old_spec, "volumeMode"));
    if field(old_spec, ATTRIBUTES).is_some() {
        let path = path.child(ATTRIBUTES);
        match field(new_spec, ATTRIBUTES).and_then(Value::as_str) {
            None => errors.forbidden(&path, "update from non-nil value to nil is forbidden"),
            Some("") => errors.forbidden(&path, "update from non-nil value to an empty string is forbidden"),
            Some(_) => {}
        }
    }
}

/// `status` of a PersistentVolumeClaim: proper amounts, of storage alone where it grows.
pub(super) fn status_update(new: &Value, errors: &mut FieldErrors) {
    let (status, path) = (at(new, &["status"]), Path::new("status"));
    for (name, value) in entries(status, "capacity") {
        proper(value, &path.child("capacity").key(name), errors);
    }
    for (name, state) in entries(status, "allocatedResourceStatuses") {
        // Upstream's path is in the singular.
        let here = path.child("allocatedResourceStatus");
        grows(name, &here, errors);
        if state.as_str().is_none_or(|state| !GROWTH.contains(&state)) {
            errors.unsupported(&here, name, &GROWTH);
        }
    }
    for (name, value) in entries(status, "allocatedResources") {
        let here = path.child("allocatedResources");
        grows(name, &here, errors);
        proper(value, &here.key(name), errors);
    }
}

/// What of a claim can grow: its storage, or a resource of somebody else's.
fn grows(name: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    let wrong = qualified_name(name);
    if wrong.is_empty() && is_native_resource(name) && name != "storage" {
        errors.unsupported(path, name, &["storage"]);
    }
    named(errors, path, name, wrong);
}

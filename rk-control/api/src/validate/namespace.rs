//! Namespaces.

use serde_json::Value;

use super::get::{field, named, strings, text};
use super::metadata::STANDARD_FINALIZERS;
use crate::meta::{at, qualified_name};
use crate::status::{FieldErrors, Path};

fn finalizer(name: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    named(errors, path, name, qualified_name(name));
    if !name.contains('/') && !STANDARD_FINALIZERS.contains(&name) {
        errors.invalid(path, name, "name is neither a standard finalizer name nor is it fully qualified");
    }
}

/// Namespace: finalizers of the spec.
pub(super) fn namespace(object: &Value, errors: &mut FieldErrors) {
    let spec = Path::new("spec");
    for name in strings(at(object, &["spec"]), "finalizers") {
        finalizer(name, &spec.child("finalizers"), errors);
    }
}

/// `finalize`: what holds a namespace back has a proper name.
pub(super) fn finalize(new: &Value, errors: &mut FieldErrors) {
    let spec = Path::new("spec");
    for (index, name) in strings(at(new, &["spec"]), "finalizers").enumerate() {
        finalizer(name, &spec.child("finalizers").index(index), errors);
    }
}

/// `status`: the phase follows from whether the namespace is being deleted.
pub(super) fn status_update(new: &Value, errors: &mut FieldErrors) {
    let phase = text(at(new, &["status"]), "phase");
    let (wanted, why) = match field(at(new, &["metadata"]), "deletionTimestamp") {
        None => ("Active", "may only be 'Active' if `deletionTimestamp` is empty"),
        Some(_) => ("Terminating", "may only be 'Terminating' if `deletionTimestamp` is not empty"),
    };
    if phase != wanted {
        errors.invalid(&Path::new("status").child("Phase"), phase, why);
    }
}

//! Namespaces.

use serde_json::Value;

use super::get::{named, strings};
use crate::meta::{at, qualified_name};
use crate::status::{FieldErrors, Path};

/// Namespace: finalizers of the spec.
pub(super) fn namespace(object: &Value, errors: &mut FieldErrors) {
    let spec = Path::new("spec");
    let path = spec.child("finalizers");
    for finalizer in strings(at(object, &["spec"]), "finalizers") {
        named(errors, &path, finalizer, qualified_name(finalizer));
        if !finalizer.contains('/') && finalizer != "kubernetes" {
            errors.invalid(&path, finalizer, "name is neither a standard finalizer name nor is it fully qualified");
        }
    }
}

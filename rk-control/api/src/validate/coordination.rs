//! Leases.

use serde_json::Value;

use super::get::{int, text};
use crate::meta::at;
use crate::status::{FieldErrors, Path};

/// Lease.
pub(super) fn lease(object: &Value, errors: &mut FieldErrors) {
    let spec = at(object, &["spec"]);
    let path = Path::new("spec");
    if let Some(seconds) = int(spec, "leaseDurationSeconds").filter(|s| *s <= 0) {
        errors.invalid(&path.child("leaseDurationSeconds"), seconds, "must be greater than 0");
    }
    if let Some(count) = int(spec, "leaseTransitions").filter(|s| *s < 0) {
        errors.invalid(&path.child("leaseTransitions"), count, "must be greater than or equal to 0");
    }
    if !text(spec, "preferredHolder").is_empty() && text(spec, "strategy").is_empty() {
        errors.forbidden(&path.child("preferredHolder"), "may only be specified if `strategy` is defined");
    }
}

//! Leases.

use serde_json::Value;

use super::get::{int, non_negative};
use crate::meta::at;
use crate::status::{FieldErrors, Path};

/// Lease.
pub(super) fn lease(object: &Value, errors: &mut FieldErrors) {
    let spec = at(object, &["spec"]);
    let path = Path::new("spec");
    if let Some(seconds) = int(spec, "leaseDurationSeconds").filter(|s| *s <= 0) {
        errors.invalid(&path.child("leaseDurationSeconds"), seconds, "must be greater than 0");
    }
    non_negative(errors, &path.child("leaseTransitions"), int(spec, "leaseTransitions"));
}

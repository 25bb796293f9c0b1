//! Conversion between the versions of a group.

use serde_json::Value;

use crate::resources::{GroupVersionKind, Resource};
use crate::status::Status;

/// Turns an object into another version of the same kind. `to` equal to the object's own version is free.
///
/// # Errors
/// A pair of versions that this crate cannot convert between.
pub fn convert(object: Value, to: &GroupVersionKind) -> Result<Value, Status> {
    let _ = (object, to);
    todo!()
}

/// Turns an object of a served version into the version in which it is stored.
///
/// # Errors
/// As [`convert`].
pub fn to_hub(object: Value, resource: &Resource) -> Result<Value, Status> {
    convert(
        object,
        &GroupVersionKind::new(
            resource.hub.0.clone(),
            resource.hub.1.clone(),
            resource.gvk.kind.clone(),
        ),
    )
}

/// Turns a stored object into a served version.
///
/// # Errors
/// As [`convert`].
pub fn from_hub(object: Value, resource: &Resource) -> Result<Value, Status> {
    convert(object, &resource.gvk)
}

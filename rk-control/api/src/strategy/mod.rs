//! What is special to a kind on its way into the store: resets, generation, immutability, validation.

use serde_json::Value;

use crate::resources::Resource;
use crate::status::{FieldErrors, Status};

/// Makes an object from a client ready to be created: resets status and server-owned metadata (uid, creationTimestamp,
/// generation, deletionTimestamp, selfLink), drops fields of features that are off, sets `generation: 1` where the kind
/// has one. Name generation, uid and creationTimestamp are [`crate::meta::fill_system_fields`].
pub fn prepare_for_create(resource: &Resource, object: &mut Value) {
    let _ = (resource, object);
    todo!()
}

/// Makes `new` ready to replace `old`: keeps system metadata, freezes status on the main resource, freezes everything but
/// status on `status`, bumps generation when the spec changed.
pub fn prepare_for_update(
    resource: &Resource,
    subresource: Option<&str>,
    new: &mut Value,
    old: &Value,
) {
    let _ = (resource, subresource, new, old);
    todo!()
}

/// Rules for a new object.
pub fn validate_create(resource: &Resource, object: &Value) -> FieldErrors {
    let _ = (resource, object);
    todo!()
}

/// Rules for a change, immutable fields included.
pub fn validate_update(
    resource: &Resource,
    subresource: Option<&str>,
    new: &Value,
    old: &Value,
) -> FieldErrors {
    let _ = (resource, subresource, new, old);
    todo!()
}

/// Texts for `Warning` headers: deprecated or useless settings.
pub fn warnings(resource: &Resource, object: &Value, old: Option<&Value>) -> Vec<String> {
    let _ = (resource, object, old);
    todo!()
}

/// Whether a PUT (or apply) to a name that does not exist creates the object.
pub fn allow_create_on_update(resource: &Resource) -> bool {
    let _ = resource;
    todo!()
}

/// Whether a PUT without `resourceVersion` is accepted.
pub fn allow_unconditional_update(resource: &Resource) -> bool {
    let _ = resource;
    todo!()
}

/// Grace period in seconds with which a DELETE of this object is carried out; `None`: the kind has no graceful deletion.
/// `wanted` is `gracePeriodSeconds` of the delete options.
///
/// # Errors
/// A negative grace period where upstream refuses it.
pub fn grace_period(
    resource: &Resource,
    object: &Value,
    wanted: Option<i64>,
) -> Result<Option<i64>, Status> {
    let _ = (resource, object, wanted);
    todo!()
}

/// The propagation policy of a DELETE that names none (`Background`, or `Orphan` for kinds of old).
pub fn default_propagation(resource: &Resource) -> &'static str {
    let _ = resource;
    todo!()
}

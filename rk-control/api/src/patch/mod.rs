//! JSON patch (RFC 6902), merge patch (RFC 7386) and strategic merge patch, on values.

use serde_json::Value;

use crate::schema::Schema;

/// Why a patch could not be applied.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PatchError {
    /// The patch itself is malformed: 400.
    #[error("{0}")]
    Malformed(String),
    /// The patch is well-formed but does not fit this object (a failed `test`, a missing path): 422.
    #[error("{0}")]
    Unprocessable(String),
}

/// Applies an RFC 6902 patch in place. On error the object is unchanged.
///
/// # Errors
/// See [`PatchError`].
pub fn json_patch(object: &mut Value, patch: &Value) -> Result<(), PatchError> {
    let _ = (object, patch);
    todo!()
}

/// Applies an RFC 7386 patch in place.
///
/// # Errors
/// The patch is no object.
pub fn merge_patch(object: &mut Value, patch: &Value) -> Result<(), PatchError> {
    let _ = (object, patch);
    todo!()
}

/// Applies a strategic merge patch in place, with all directives.
///
/// # Errors
/// A malformed directive or an element without its merge key.
pub fn strategic_merge_patch(
    object: &mut Value,
    patch: &Value,
    schema: &Schema,
) -> Result<(), PatchError> {
    let _ = (object, patch, schema);
    todo!()
}

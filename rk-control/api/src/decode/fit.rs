//! Holding a value against its schema.

use serde_json::Value;

use super::DecodeError;
use crate::schema::Schema;

/// Drops nulls and unknown fields in place and returns the paths of the latter.
///
/// # Errors
/// A value of the wrong type.
pub fn fit(value: &mut Value, schema: &Schema) -> Result<Vec<String>, DecodeError> {
    let _ = (value, schema);
    todo!()
}

//! Field ownership: `metadata.managedFields` and server-side apply.

use jiff::Timestamp;
use serde_json::Value;

use crate::schema::Schema;
use crate::status::Status;

/// Who applies, and how.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Schema of the object.
    pub schema: &'a Schema,
    /// The field manager (`fieldManager` parameter, else the user agent up to the first `/`).
    pub manager: &'a str,
    /// The version in which the request speaks.
    pub api_version: &'a str,
    /// `status`, `scale`, …; empty for the main resource.
    pub subresource: &'a str,
    /// Take fields over from other managers.
    pub force: bool,
    /// The time of the request.
    pub now: Timestamp,
}

/// Server-side apply: merges `config` (already fitted to the schema, with apiVersion and kind) into `live` (`None`: create)
/// and returns the new object with its `managedFields`. The caller defaults the result, then goes on as with an update.
///
/// # Errors
/// 409 with one cause per conflicting field, 400 for malformed `managedFields` or an object with `managedFields` in `config`.
pub fn apply(live: Option<&Value>, config: &Value, request: &Request<'_>) -> Result<Value, Status> {
    let _ = (live, config, request);
    todo!()
}

/// Records who changed what between `old` (`None`: create) and `new` after a POST, PUT or other patch: rewrites
/// `new.metadata.managedFields` in place. Call it last, after defaulting and admission.
pub fn update(old: Option<&Value>, new: &mut Value, request: &Request<'_>) {
    let _ = (old, new, request);
    todo!()
}

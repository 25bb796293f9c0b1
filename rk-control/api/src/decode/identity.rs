//! `apiVersion` and `kind` of a body against what the path promises.

use serde_json::{Value, json};

use crate::resources::GroupVersionKind;
use crate::status::Status;

/// Checks that a decoded body is what the request's path says, and fills in `apiVersion` and `kind` when it left them out.
///
/// # Errors
/// 400 for another version or kind.
pub fn identify(object: &mut Value, want: &GroupVersionKind) -> Result<(), Status> {
    let Some(root) = object.as_object_mut() else {
        return Err(Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {})",
            want.kind
        )));
    };
    let text = |key: &str| root.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (kind, api_version) = (text("kind"), text("apiVersion"));
    let expected = want.api_version();
    if !api_version.is_empty() && api_version != expected {
        return Err(Status::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({expected})"
        )));
    }
    if !kind.is_empty() && kind != want.kind {
        return Err(Status::bad_request(format!(
            "{kind} in version {version:?} cannot be handled as a {want}: converting ({version}.{kind}) to ({package}.{want}): unknown conversion",
            version = want.version,
            want = want.kind,
            package = if want.group.is_empty() { "core" } else { want.group.split('.').next().unwrap_or_default() },
        )));
    }
    root.insert("apiVersion".into(), json!(expected));
    root.insert("kind".into(), json!(&*want.kind));
    Ok(())
}

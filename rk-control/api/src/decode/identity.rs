//! `apiVersion` and `kind` of a body against what the path promises.

use serde_json::{Value, json};

use crate::meta;
use crate::resources::GroupVersionKind;
use crate::schema::Schema;
use crate::status::{FieldErrors, Path, Status};

/// Where upstream registers its kinds, as its messages name it.
pub(crate) const SCHEME: &str = "pkg/api/legacyscheme/scheme.go:30";

/// Checks that a decoded body is what the request's path says, and fills in `apiVersion` and `kind` when it left them out.
///
/// # Errors
/// 400 for another version or kind; 422 for another kind in the place of a custom one.
pub fn identify(object: &mut Value, want: &GroupVersionKind) -> Result<(), Status> {
    if !object.is_object() {
        return Err(Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {})",
            want.kind
        )));
    }
    let (kind, api_version) = (meta::text(object, &["kind"]), meta::text(object, &["apiVersion"]));
    let expected = want.api_version();
    let kind = if kind.is_empty() { &*want.kind } else { kind };
    let api_version = match api_version {
        "" => expected.as_str(),
        // Evictions outlived the rest of that version, for clients of old.
        "policy/v1beta1" if want.kind == "Eviction" => expected.as_str(),
        other => other,
    };
    if kind != want.kind || api_version != expected {
        let is_built_in = want.group.is_empty() || Schema::of_kind(want).is_some();
        return Err(if is_built_in {
            misplaced(kind, api_version, want)
        } else {
            misplaced_custom(kind, api_version, meta::name(object), want)
        });
    }
    object["apiVersion"] = json!(expected);
    object["kind"] = json!(&*want.kind);
    Ok(())
}

fn other_version(api_version: &str, want: &GroupVersionKind) -> Status {
    let expected = want.api_version();
    Status::bad_request(format!(
        "the API version in the data ({api_version}) does not match the expected API version ({expected})"
    ))
}

/// A typed decoder knows the kinds of every version, and what can be read as what.
fn misplaced(kind: &str, api_version: &str, want: &GroupVersionKind) -> Status {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let given = GroupVersionKind {
        group: group.to_owned().into(),
        version: version.to_owned().into(),
        kind: kind.to_owned().into(),
    };
    let why = if Schema::of_kind(&given).is_none() {
        format!("no kind {kind:?} is registered for version {api_version:?} in scheme {SCHEME:?}")
    } else if kind == want.kind && group == want.group {
        return other_version(api_version, want);
    } else {
        let package = if want.group.is_empty() { "core" } else { want.group.split('.').next().unwrap_or_default() };
        format!("converting ({version}.{kind}) to ({package}.{}): unknown conversion", want.kind)
    };
    Status::bad_request(format!("{kind} in version {version:?} cannot be handled as a {}: {why}", want.kind))
}

/// An untyped one takes any kind; validation does not.
fn misplaced_custom(kind: &str, api_version: &str, name: &str, want: &GroupVersionKind) -> Status {
    if api_version != want.api_version() {
        return other_version(api_version, want);
    }
    let mut errors = FieldErrors::new();
    errors.invalid(&Path::new("kind"), kind, format!("must be {}", want.kind));
    Status::invalid(&want.group, &want.kind, name, &errors.0)
}

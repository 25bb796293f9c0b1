//! `apiVersion` and `kind` of a body against what the path promises.

use serde_json::{Value, json};

use super::DecodeError;
use crate::meta;
use crate::patch::{MAP, unfit, unfit_field};
use crate::resources::GroupVersionKind;
use crate::schema::Schema;
use crate::status::{FieldErrors, Path, Status, quote};

/// Where upstream registers its kinds, as its messages name it.
const SCHEME: &str = "pkg/api/legacyscheme/scheme.go:30";
/// Where it registers the kinds of options.
const OPTIONS_SCHEME: &str = "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27";
/// What else is registered there.
const BESIDE_OPTIONS: [(&str, &[&str]); 2] = [
    (
        "meta.k8s.io/v1",
        &[
            "CreateOptions",
            "GetOptions",
            "ListOptions",
            "PartialObjectMetadata",
            "PartialObjectMetadataList",
            "PatchOptions",
            "Table",
            "TableOptions",
            "UpdateOptions",
            "WatchEvent",
        ],
    ),
    ("v1", &["APIGroup", "APIGroupList", "APIResourceList", "APIVersions", "Status"]),
];
/// What upstream reads of a body first, in Go's words.
pub const TYPE_META: &str =
    r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;

/// Whether a body can say what it is; whether it does so is for [`identify`].
///
/// # Errors
/// Neither object nor null, or names that are none.
pub(super) fn readable(body: &Value) -> Result<(), DecodeError> {
    if !body.is_object() && !body.is_null() {
        return Err(DecodeError::Syntax(unfit(body, TYPE_META)));
    }
    for field in ["apiVersion", "kind"] {
        if let Some(value) = body.get(field).filter(|value| !value.is_string() && !value.is_null()) {
            return Err(DecodeError::Syntax(unfit_field(value, &format!(".{field}"), "string")));
        }
    }
    let api_version = meta::text(body, &["apiVersion"]);
    if api_version.matches('/').count() > 1 {
        return Err(DecodeError::Unnamed(format!("unexpected GroupVersion string: {api_version}")));
    }
    Ok(())
}

/// Checks that a value can be read as a map without types: an object, or null.
///
/// # Errors
/// What it is instead, in Go's words.
pub fn as_map(value: &Value) -> Result<(), String> {
    if value.is_object() || value.is_null() {
        return Ok(());
    }
    Err(unfit(value, MAP))
}

/// Checks that a decoded `body` is what the request's path says, and fills in `apiVersion` and `kind` when it left them out. Custom
/// ones must say what they are.
///
/// # Errors
/// 400 for another version or kind; 422 for another kind in the place of a custom one.
pub fn identify(object: &mut Value, want: &GroupVersionKind, body: &[u8]) -> Result<(), Status> {
    let (kind, api_version) = (meta::text(object, &["kind"]), meta::text(object, &["apiVersion"]));
    let expected = want.api_version();
    if !is_built_in(want) {
        if kind.is_empty() {
            return Err(kindless(&String::from_utf8_lossy(body)).into_status(&want.kind, &want.version, body));
        }
        if api_version != expected {
            return Err(other_version(api_version, want));
        }
        return misplaced_custom(object, want);
    }
    if !object.is_object() {
        return Err(Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {})",
            want.kind
        )));
    }
    let kind = if kind.is_empty() { &*want.kind } else { kind };
    let api_version = match api_version {
        // So Go reads a slash alone, too.
        "" | "/" => expected.as_str(),
        // Evictions outlived the rest of that version, for clients of old.
        "policy/v1beta1" if want.kind == "Eviction" => expected.as_str(),
        // The empty group may be written out.
        other => other.strip_prefix('/').unwrap_or(other),
    };
    if kind != want.kind || api_version != expected {
        return Err(misplaced(kind, api_version, want));
    }
    object["apiVersion"] = json!(expected);
    object["kind"] = json!(&*want.kind);
    Ok(())
}

/// Checks that a decoded body is `DeleteOptions`, and fills in `apiVersion` and `kind` when it left them out: every group and version
/// has them.
///
/// # Errors
/// 400 for another kind, in the words of kube-apiserver v1.36.
pub fn identify_delete_options(object: &mut Value) -> Result<(), Status> {
    let api_version = match meta::text(object, &["apiVersion"]) {
        "" => "meta.k8s.io/v1".to_owned(),
        given => given.to_owned(),
    };
    let kind = meta::text(object, &["kind"]);
    if !matches!(kind, "" | "DeleteOptions") {
        return Err(unregistered_options(kind, &api_version));
    }
    if let Value::Object(members) = object {
        members.insert("apiVersion".to_owned(), Value::String(api_version));
        members.insert("kind".to_owned(), json!("DeleteOptions"));
    }
    Ok(())
}

/// 400 for a kind in the place of `DeleteOptions`.
pub(super) fn unregistered_options(kind: &str, api_version: &str) -> Status {
    let is_known = BESIDE_OPTIONS.iter().any(|(own, kinds)| *own == api_version && kinds.contains(&kind));
    Status::bad_request(if is_known {
        format!("converting (v1.{kind}) to (v1.DeleteOptions): unknown conversion")
    } else {
        unregistered_in(OPTIONS_SCHEME, kind, api_version)
    })
}

/// Checks that what a patch made of an object is of its kind still.
///
/// # Errors
/// 422, or 500 for a custom one without a version, as kube-apiserver v1.36 answers.
pub fn still(patched: &Value, want: &GroupVersionKind) -> Result<(), Status> {
    readable(patched).map_err(|error| {
        let why = match error {
            DecodeError::Syntax(why) => format!("couldn't get version/kind; json parse error: {why}"),
            other => other.to_string(),
        };
        useless(patched, why)
    })?;
    let (kind, api_version) = (meta::text(patched, &["kind"]), meta::text(patched, &["apiVersion"]));
    if !is_built_in(want) {
        if kind.is_empty() {
            return Err(useless(patched, kindless(&patched.to_string()).to_string()));
        }
        if api_version.is_empty() {
            return Err(Status::internal("Object 'apiVersion' is missing in 'object has no apiVersion field'"));
        }
        return misplaced_custom(patched, want);
    }
    let expected = want.api_version();
    let kind = if kind.is_empty() { &*want.kind } else { kind };
    let api_version = if api_version.is_empty() { expected.as_str() } else { api_version };
    // Another version of the kind is converted.
    match unconverted(kind, api_version, want) {
        Some(why) => Err(useless(patched, why)),
        None => Ok(()),
    }
}

/// 422: a patch could be applied, but what it makes is of no use.
fn useless(patched: &Value, why: String) -> Status {
    let mut errors = FieldErrors::new();
    errors.invalid(&Path::new("patch"), patched.to_string(), why);
    Status::invalid("", "", "", &errors.0)
}

fn kindless(body: &str) -> DecodeError {
    DecodeError::Unnamed(format!("Object 'Kind' is missing in '{body}'"))
}

fn is_built_in(want: &GroupVersionKind) -> bool {
    want.group.is_empty() || Schema::of_kind(want).is_some()
}

fn other_version(api_version: &str, want: &GroupVersionKind) -> Status {
    let expected = want.api_version();
    Status::bad_request(format!(
        "the API version in the data ({api_version}) does not match the expected API version ({expected})"
    ))
}

/// A typed decoder knows the kinds of every version, and what can be read as what.
fn misplaced(kind: &str, api_version: &str, want: &GroupVersionKind) -> Status {
    let (_, version) = api_version.split_once('/').unwrap_or(("", api_version));
    match unconverted(kind, api_version, want) {
        Some(why) => {
            let version = quote(version);
            Status::bad_request(format!("{kind} in version {version} cannot be handled as a {}: {why}", want.kind))
        }
        None => other_version(api_version, want),
    }
}

/// Why a kind cannot be read as the one that is wanted; nothing for another version of that.
fn unconverted(kind: &str, api_version: &str, want: &GroupVersionKind) -> Option<String> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let given = GroupVersionKind {
        group: group.to_owned().into(),
        version: version.to_owned().into(),
        kind: kind.to_owned().into(),
    };
    if !is_registered(&given) {
        return Some(unregistered(kind, api_version));
    }
    if kind == want.kind && group == want.group {
        return None;
    }
    let package = if want.group.is_empty() { "core" } else { want.group.split('.').next().unwrap_or_default() };
    Some(format!("converting ({version}.{kind}) to ({package}.{}): unknown conversion", want.kind))
}

/// What upstream says of a kind that it has no type for.
#[must_use]
pub fn unregistered(kind: &str, api_version: &str) -> String {
    unregistered_in(SCHEME, kind, api_version)
}

/// The same of a kind that a scheme other than that of the API has no type for; `scheme` is its name in messages.
#[must_use]
pub fn unregistered_in(scheme: &str, kind: &str, api_version: &str) -> String {
    let (kind, api_version) = (quote(kind), quote(api_version));
    format!("no kind {kind} is registered for version {api_version} in scheme {scheme:?}")
}

/// Whether a kind is built in: lists are, with what they list.
fn is_registered(gvk: &GroupVersionKind) -> bool {
    let listed =
        gvk.kind.strip_suffix("List").map(|kind| GroupVersionKind { kind: kind.to_owned().into(), ..gvk.clone() });
    Schema::of_kind(gvk).is_some()
        || (&*gvk.group, &*gvk.version, &*gvk.kind) == ("", "v1", "List")
        || listed.is_some_and(|listed| Schema::of_kind(&listed).is_some())
}

/// An untyped decoder takes any kind; validation does not, and names the object as it names itself.
fn misplaced_custom(object: &Value, want: &GroupVersionKind) -> Result<(), Status> {
    let (kind, api_version) = (meta::text(object, &["kind"]), meta::text(object, &["apiVersion"]));
    let expected = want.api_version();
    let mut errors = FieldErrors::new();
    if kind != want.kind {
        errors.invalid(&Path::new("kind"), kind, format!("must be {}", want.kind));
    }
    if api_version != expected {
        errors.invalid(&Path::new("apiVersion"), api_version, format!("must be {expected}"));
    }
    if errors.is_empty() {
        return Ok(());
    }
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    Err(Status::invalid(group, kind, meta::name(object), &errors.0))
}

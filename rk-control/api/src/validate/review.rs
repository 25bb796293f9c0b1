//! SubjectAccessReviews and their relatives: what is asked, and about whom.

use serde_json::Value;

use super::get::{empty, field, text};
use crate::meta::at;
use crate::status::{FieldErrors, Path};

/// A SubjectAccessReview, SelfSubjectAccessReview or LocalSubjectAccessReview (`kind` tells which).
pub fn access_review(kind: &str, review: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let spec = at(review, &["spec"]);
    let path = Path::new("spec");
    let (resource, other) = (field(spec, "resourceAttributes"), field(spec, "nonResourceAttributes"));
    match (resource, other) {
        (Some(_), Some(other)) => {
            let why = "cannot be specified in combination with resourceAttributes";
            errors.invalid(&path.child("nonResourceAttributes"), other.clone(), why);
        }
        (None, None) => {
            let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            errors.invalid(&path.child("resourceAttributes"), "null", why);
        }
        _ => {}
    }
    if kind != "SelfSubjectAccessReview" && text(spec, "user").is_empty() && empty(spec, "groups") {
        errors.invalid(&path.child("user"), "", "at least one of user or group must be specified");
    }
    let local = kind == "LocalSubjectAccessReview";
    let metadata = at(review, &["metadata"]);
    let free = |key: &str| key == "managedFields" || (local && key == "namespace");
    let said = |(key, _): (&String, &Value)| !free(key.as_str()) && !empty(metadata, key);
    if metadata.as_object().into_iter().flatten().any(said) {
        let why = if local { "must be empty except for namespace" } else { "must be empty" };
        errors.invalid(&Path::new("metadata"), metadata.clone(), why);
    }
    if local {
        local_review(review, resource, other, &mut errors);
    }
    errors
}

/// What is asked about a namespace is asked in it.
fn local_review(review: &Value, resource: Option<&Value>, other: Option<&Value>, errors: &mut FieldErrors) {
    let asked = resource.map(|resource| text(resource, "namespace"));
    if let Some(asked) = asked.filter(|asked| *asked != text(at(review, &["metadata"]), "namespace")) {
        errors.invalid(&Path::new("spec.resourceAttributes.namespace"), asked, "must match metadata.namespace");
    }
    if let Some(other) = other {
        errors.invalid(&Path::new("spec.nonResourceAttributes"), other.clone(), "disallowed on this kind of request");
    }
}

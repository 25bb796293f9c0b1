//! SubjectAccessReviews and their relatives: what is asked, and about whom.

use serde_json::Value;

use super::get::{empty, field, list, text};
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
            errors.invalid(&path.child("resourceAttributes"), Value::Null, why);
        }
        _ => {}
    }
    if kind != "SelfSubjectAccessReview" && text(spec, "user").is_empty() && empty(spec, "groups") {
        errors.invalid(&path.child("user"), "", "at least one of user or group must be specified");
    }
    for (name, selector) in
        ["fieldSelector", "labelSelector"].map(|name| (name, resource.and_then(|own| field(own, name))))
    {
        if let Some(selector) = selector {
            selects(selector, &path.child("resourceAttributes").child(name), &mut errors);
        }
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

/// A selector is given as text or as requirements; operators that are not known are judged later.
fn selects(selector: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let (raw, requirements) = (text(selector, "rawSelector"), list(selector, "requirements"));
    if !raw.is_empty() && !requirements.is_empty() {
        let why = "may not specified at the same time as requirements";
        errors.invalid(&path.child("rawSelector"), raw, why);
    }
    if raw.is_empty() && requirements.is_empty() {
        let why = format!("when {path} is specified, requirements or rawSelector is required");
        errors.required(&path.child("requirements"), &why);
    }
    let place = path.child("requirements");
    for (at, requirement) in requirements.iter().enumerate() {
        let place = place.index(at);
        if text(requirement, "key").is_empty() {
            errors.required(&place.child("key"), "must be specified");
        }
        let values = empty(requirement, "values");
        match text(requirement, "operator") {
            "In" | "NotIn" if values => {
                errors.required(&place.child("values"), "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if !values => {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.forbidden(&place.child("values"), why);
            }
            _ => {}
        }
    }
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

//! Requests and limits.

use serde_json::Value;

use super::get::{amount, entries, named};
use crate::meta::qualified_name;
use crate::status::{FieldErrors, Path};

/// Resources that a container may name without a domain.
const STANDARD: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// Whether requests must equal limits: what cannot be shared.
fn no_overcommit(name: &str) -> bool {
    name.starts_with("hugepages-") || name.contains('/')
}

/// The name of a resource that a container may ask for.
pub(super) fn resource_name(name: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    named(errors, path, name, qualified_name(name));
    standard(name, path, errors);
}

/// A name without a domain is one that containers know.
pub(super) fn standard(name: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    if !name.contains('/') && !STANDARD.contains(&name) && !name.starts_with("hugepages-") {
        errors.invalid(path, name, "must be a standard resource for containers");
        if !name.is_empty() && qualified_name(name).is_empty() {
            // Upstream says both: not standard here, and not standard anywhere.
            errors.invalid(path, name, "must be a standard resource type or fully qualified");
        }
    }
}

/// `requests` and `limits`.
pub(super) fn requirements(resources: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let (limits, requests) = (path.child("limits"), path.child("requests"));
    for (name, value) in entries(resources, "limits") {
        quantity(name, value, &limits.key(name), errors);
    }
    for (name, value) in entries(resources, "requests") {
        quantity(name, value, &requests.key(name), errors);
        let limit = entries(resources, "limits").find(|(n, _)| *n == name).map(|(_, v)| amount(v));
        match limit {
            Some(limit) if no_overcommit(name) && limit != amount(value) => {
                errors.invalid(&requests, value.clone(), format!("must be equal to {name} limit of {limit}"));
            }
            Some(limit) if amount(value) > limit => {
                errors.invalid(
                    &requests,
                    value.clone(),
                    format!("must be less than or equal to {name} limit of {limit}"),
                );
            }
            None if no_overcommit(name) => {
                errors.required(&limits, "Limit must be set for non overcommitable resources");
            }
            _ => {}
        }
    }
}

fn quantity(name: &str, value: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    resource_name(name, path, errors);
    let amount = amount(value);
    if amount.sign() < 0 {
        errors.invalid(path, value.clone(), "must be greater than or equal to 0");
    }
    if (name.contains('/') || name == "pods") && !amount.is_integer() {
        errors.invalid(path, value.clone(), "must be an integer");
    }
}

/// A map of amounts, none below zero.
pub(super) fn amounts(map: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    for (name, value) in map.as_object().into_iter().flatten() {
        if amount(value).sign() < 0 {
            errors.invalid(&path.key(name), value.clone(), "must be greater than or equal to 0");
        }
    }
}

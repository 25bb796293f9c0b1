//! Requests and limits.

use serde_json::Value;

use super::get::{amount, entries, named};
use crate::meta::{Quantity, is_extended_resource, is_native_resource, qualified_name};
use crate::status::{FieldErrors, Path};

/// Checks the name of a resource.
type Names = fn(&str, &Path<'_>, &mut FieldErrors);

/// Resources that a container may name without a domain.
const STANDARD: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// Resources without a domain that the system knows, beside those of containers.
const KNOWN: [&str; 17] = [
    "configmaps",
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
    "requests.storage",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
    "storage",
];
/// Resources without a domain that are counted.
const COUNTED: [&str; 9] = [
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
];

/// Whether requests must equal limits: what cannot be shared.
pub(super) fn no_overcommit(name: &str) -> bool {
    name.starts_with("hugepages-") || !is_native_resource(name)
}

/// The name of any resource: known to the system, or of a domain.
pub(super) fn known(name: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    let wrong = qualified_name(name);
    let pages = name.starts_with("hugepages-") || name.starts_with("requests.hugepages-");
    if wrong.is_empty() && !name.contains('/') && !pages && !STANDARD.contains(&name) && !KNOWN.contains(&name) {
        errors.invalid(path, name, "must be a standard resource type or fully qualified");
    }
    named(errors, path, name, wrong);
}

/// The name of a resource that a container may ask for.
pub(super) fn resource_name(name: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    known(name, path, errors);
    if !name.contains('/') {
        if !STANDARD.contains(&name) && !name.starts_with("hugepages-") {
            errors.invalid(path, name, "must be a standard resource for containers");
        }
    } else if !is_native_resource(name) && !is_extended_resource(name) {
        errors.invalid(path, name, "doesn't follow extended resource name standard");
    }
}

/// The name of a resource that a pod may ask for as a whole.
pub(super) fn of_pod(name: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    let before = errors.0.len();
    known(name, path, errors);
    let fits = matches!(name, "cpu" | "memory") || name.starts_with("hugepages-");
    if errors.0.len() == before && !fits {
        errors.unsupported(path, name, &["cpu", "hugepages-", "memory"]);
    }
}

/// An amount that a resource can have: not below zero, whole where it is counted.
pub(super) fn value(name: &str, value: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let amount = amount(value);
    if amount.sign() < 0 {
        errors.invalid(path, value.clone(), "must be greater than or equal to 0");
    }
    if (COUNTED.contains(&name) || is_extended_resource(name)) && !amount.is_integer() {
        errors.invalid(path, value.clone(), "must be an integer");
    }
}

/// Huge pages come in whole pages.
fn pages(name: &str, value: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let Some(size) = name.strip_prefix("hugepages-") else { return };
    let size = size.parse::<Quantity>().map_or(0, |size| size.units());
    let amount = amount(value);
    if size <= 0 || amount.units() % size != 0 {
        errors.invalid(path, value.clone(), format!("{amount} is not positive integer multiple of {name}"));
    }
}

/// `requests` and `limits` of a container.
pub(super) fn requirements(resources: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    requirements_of(resources, resource_name, path, errors);
}

/// `requests` and `limits` of resources that have such names.
pub(super) fn requirements_of(resources: &Value, names: Names, path: &Path<'_>, errors: &mut FieldErrors) {
    let (limits, requests) = (path.child("limits"), path.child("requests"));
    for (name, value) in entries(resources, "limits") {
        quantity(name, value, names, &limits.key(name), errors);
    }
    for (name, value) in entries(resources, "requests") {
        quantity(name, value, names, &requests.key(name), errors);
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
    let all: Vec<&str> =
        ["limits", "requests"].iter().flat_map(|side| entries(resources, side)).map(|(name, _)| name).collect();
    let pages = all.iter().any(|name| name.starts_with("hugepages-"));
    if pages && !all.contains(&"cpu") && !all.contains(&"memory") {
        errors.forbidden(path, "HugePages require cpu or memory");
    }
}

fn quantity(name: &str, value: &Value, names: Names, path: &Path<'_>, errors: &mut FieldErrors) {
    names(name, path, errors);
    self::value(name, value, path, errors);
    pages(name, value, path, errors);
}

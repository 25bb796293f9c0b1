//! ResourceQuotas: names, amounts and scopes.

use serde_json::Value;

use super::get::{entries, list, strings, text};
use super::resources;
use crate::meta::at;
use crate::status::{FieldErrors, Path};

/// Names without a domain that a quota may bound.
const STANDARD: [&str; 19] = [
    "configmaps",
    "cpu",
    "ephemeral-storage",
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "memory",
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
];
/// What pods compute with: what every scope of pods but `BestEffort` bounds.
const COMPUTE: [&str; 7] = ["cpu", "limits.cpu", "limits.memory", "memory", "pods", "requests.cpu", "requests.memory"];
const SCOPES: [&str; 7] = [
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
];
const OPPOSITES: [(&str, &str); 2] = [("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")];

/// ResourceQuota.
pub(super) fn resource_quota(object: &Value, errors: &mut FieldErrors) {
    let spec = at(object, &["spec"]);
    let path = Path::new("spec");
    for (name, value) in entries(spec, "hard") {
        hard(name, value, &path.child("hard").key(name), errors);
    }
    for key in ["hard", "used"] {
        for (name, value) in entries(at(object, &["status"]), key) {
            let path = Path::new("status");
            hard(name, value, &path.child(key).key(name), errors);
        }
    }
    let names: Vec<&str> = strings(spec, "scopes").collect();
    let here = path.child("scopes");
    scopes(&names, at(spec, &["scopes"]), &here, errors);
    for scope in &names {
        bounded(scope, at(spec, &["scopes"]), spec, &here, errors);
    }
    selector(spec, &path.child("scopeSelector"), errors);
}

fn hard(name: &str, value: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    resources::known(name, path, errors);
    let pages = name.starts_with("hugepages-") || name.starts_with("requests.hugepages-");
    if !name.contains('/') && !STANDARD.contains(&name) && !pages {
        errors.invalid(path, name, "must be a standard resource for quota");
    }
    resources::value(name, value, path, errors);
}

/// Whether a scope can bound a resource without a domain.
fn bounds(scope: &str, resource: &str) -> bool {
    match scope {
        "BestEffort" => resource == "pods",
        "CrossNamespacePodAffinity" | "NotBestEffort" | "NotTerminating" | "PriorityClass" | "Terminating" => {
            COMPUTE.contains(&resource)
        }
        "VolumeAttributesClass" => matches!(resource, "persistentvolumeclaims" | "requests.storage"),
        _ => true,
    }
}

/// Whether what is bounded can be bounded in a scope.
fn bounded(scope: &str, shown: &Value, spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    for (resource, _) in entries(spec, "hard") {
        if STANDARD.contains(&resource) && !bounds(scope, resource) {
            errors.invalid(path, shown.clone(), "unsupported scope applied to resource");
        }
    }
}

fn scopes(names: &[&str], shown: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    for scope in names {
        if !SCOPES.contains(scope) {
            errors.invalid(path, shown.clone(), "unsupported scope");
        }
    }
    for (a, b) in OPPOSITES {
        if names.contains(&a) && names.contains(&b) {
            errors.invalid(path, shown.clone(), "conflicting scopes");
        }
    }
}

/// `scopeSelector`: scopes with values.
fn selector(spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let expressions = list(at(spec, &["scopeSelector"]), "matchExpressions");
    let path = path.child("matchExpressions");
    for expression in expressions {
        let (scope, operator) = (text(expression, "scopeName"), text(expression, "operator"));
        let here = path.child("scopeName");
        scopes(&[scope], &Value::from(scope), &here, errors);
        bounded(scope, at(spec, &["scopeSelector"]), spec, &path, errors);
        let plain = !matches!(scope, "PriorityClass" | "VolumeAttributesClass");
        if plain && operator != "Exists" {
            let why = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, \
                       ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
            errors.invalid(&path.child("operator"), operator, why);
        }
        let count = list(expression, "values").len();
        match operator {
            "In" | "NotIn" if count == 0 => {
                let why = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                errors.required(&path.child("values"), why);
            }
            "Exists" | "DoesNotExist" if count > 0 => {
                let why = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                errors.invalid(&path.child("values"), expression["values"].clone(), why);
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => errors.invalid(&path.child("operator"), other, "not a valid selector operator"),
        }
    }
    let names: Vec<&str> = expressions.iter().map(|expression| text(expression, "scopeName")).collect();
    for (a, b) in OPPOSITES {
        if names.contains(&a) && names.contains(&b) {
            errors.invalid(&path, at(spec, &["scopes"]).clone(), "conflicting scopes");
        }
    }
}

/// The scopes of a quota are for ever.
pub(super) fn resource_quota_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let path = Path::new("spec");
    let set = |object: &Value| {
        let mut all: Vec<String> = strings(at(object, &["spec"]), "scopes").map(str::to_owned).collect();
        all.sort_unstable();
        all
    };
    if set(new) != set(old) {
        errors.invalid(&path.child("scopes"), at(new, &["spec", "scopes"]).clone(), "field is immutable");
    }
}

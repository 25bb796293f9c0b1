//! Roles and bindings.

use serde_json::Value;

use super::get::{empty, field, list, required_name, text};
use super::selector::label_selector;
use crate::meta::{at, dns1123_subdomain, path_segment};
use crate::status::{ErrorKind, FieldErrors, Path, ROLE_REF};

const GROUP: &str = "rbac.authorization.k8s.io";

/// Role.
pub(super) fn role(object: &Value, errors: &mut FieldErrors) {
    rules(object, true, errors);
}

/// ClusterRole.
pub(super) fn cluster_role(object: &Value, errors: &mut FieldErrors) {
    rules(object, false, errors);
    let Some(aggregation) = field(object, "aggregationRule") else { return };
    let path = Path::new("aggregationRule");
    let path = path.child("clusterRoleSelectors");
    if empty(aggregation, "clusterRoleSelectors") {
        errors.required(&path, "at least one clusterRoleSelector required if aggregationRule is non-nil");
    }
    for (index, selector) in list(aggregation, "clusterRoleSelectors").iter().enumerate() {
        label_selector(selector, &path.index(index), errors);
    }
}

fn rules(object: &Value, namespaced: bool, errors: &mut FieldErrors) {
    let path = Path::new("rules");
    for (index, rule) in list(object, "rules").iter().enumerate() {
        let path = path.index(index);
        if empty(rule, "verbs") {
            errors.required(&path.child("verbs"), "verbs must contain at least one value");
        }
        if !empty(rule, "nonResourceURLs") {
            if namespaced {
                errors.invalid(
                    &path.child("nonResourceURLs"),
                    rule["nonResourceURLs"].clone(),
                    "namespaced rules cannot apply to non-resource URLs",
                );
            }
            if ["apiGroups", "resources", "resourceNames"].iter().any(|k| !empty(rule, k)) {
                errors.invalid(
                    &path.child("nonResourceURLs"),
                    rule["nonResourceURLs"].clone(),
                    "rules cannot apply to both regular resources and non-resource URLs",
                );
            }
            continue;
        }
        if empty(rule, "apiGroups") {
            errors.required(&path.child("apiGroups"), "resource rules must supply at least one api group");
        }
        if empty(rule, "resources") {
            errors.required(&path.child("resources"), "resource rules must supply at least one resource");
        }
    }
}

/// RoleBinding.
pub(super) fn role_binding(object: &Value, errors: &mut FieldErrors) {
    binding(object, &["Role", "ClusterRole"], true, errors);
}

/// ClusterRoleBinding.
pub(super) fn cluster_role_binding(object: &Value, errors: &mut FieldErrors) {
    binding(object, &["ClusterRole"], false, errors);
}

fn binding(object: &Value, kinds: &[&str], namespaced: bool, errors: &mut FieldErrors) {
    let role = at(object, &["roleRef"]);
    let path = Path::new("roleRef");
    if text(role, "apiGroup") != GROUP {
        errors.unsupported(&path.child("apiGroup"), text(role, "apiGroup"), &[GROUP]);
    }
    if !kinds.contains(&text(role, "kind")) {
        unsupported(errors, &path.child("kind"), text(role, "kind"), kinds);
    }
    required_name(errors, &path.child("name"), text(role, "name"), path_segment);
    let path = Path::new("subjects");
    for (index, subject) in list(object, "subjects").iter().enumerate() {
        self::subject(subject, namespaced, &path.index(index), errors);
    }
}

fn subject(subject: &Value, namespaced: bool, path: &Path<'_>, errors: &mut FieldErrors) {
    let (name, group) = (text(subject, "name"), text(subject, "apiGroup"));
    if name.is_empty() {
        errors.required(&path.child("name"), "");
    }
    match text(subject, "kind") {
        "ServiceAccount" => {
            if !name.is_empty() {
                super::get::named(errors, &path.child("name"), name, dns1123_subdomain(name));
            }
            if !group.is_empty() {
                errors.unsupported(&path.child("apiGroup"), group, &[""]);
            }
            if !namespaced && text(subject, "namespace").is_empty() {
                errors.required(&path.child("namespace"), "");
            }
        }
        kind @ ("User" | "Group") => {
            if name.is_empty() {
                let why = format!("{} name cannot be empty", kind.to_lowercase());
                errors.invalid(&path.child("name"), "", why);
            }
            if group != GROUP {
                errors.unsupported(&path.child("apiGroup"), group, &[GROUP]);
            }
        }
        other => unsupported(errors, &path.child("kind"), other, &["ServiceAccount", "User", "Group"]),
    }
}

/// `Unsupported value`, with the words in the order in which upstream has them here.
fn unsupported(errors: &mut FieldErrors, path: &Path<'_>, value: &str, words: &[&str]) {
    let quoted: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    errors.push(ErrorKind::NotSupported, path, value, format!("supported values: {}", quoted.join(", ")));
}

/// The role of a binding is for ever.
pub(super) fn binding_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    if new.get("roleRef") != old.get("roleRef") {
        errors.invalid(&Path::new("roleRef"), ROLE_REF.of(at(new, &["roleRef"])), "cannot change roleRef");
    }
}

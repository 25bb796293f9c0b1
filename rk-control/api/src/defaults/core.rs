//! Small kinds: namespaces, nodes, secrets, limits, bindings, priorities, tokens.

use serde_json::Value;

use super::edit::{both, child, copy_missing, default, each, empty, ensure, text};
use crate::Object;

const RBAC: &str = "rbac.authorization.k8s.io";

/// Namespace: a label with its own name, so that selectors can find it.
pub(super) fn namespace(object: &mut Object) {
    if let Some(metadata) = ensure(object, "metadata") {
        let name = text(metadata, "name").to_owned();
        if !name.is_empty()
            && let Some(labels) = ensure(metadata, "labels")
        {
            labels.insert("kubernetes.io/metadata.name".into(), name.into());
        }
    }
    if let Some(status) = ensure(object, "status") {
        default(status, "phase", "Active");
    }
}

/// Node: without reservations everything is allocatable.
pub(super) fn node(object: &mut Object) {
    if let Some(spec) = child(object, "spec") {
        both(spec, "podCIDR", "podCIDRs", |range| range.into());
    }
    if let Some(status) = child(object, "status")
        && empty(status, "allocatable")
        && let Some(capacity) = status.get("capacity").filter(|c| c.as_object().is_some_and(|c| !c.is_empty())).cloned()
    {
        status.insert("allocatable".into(), capacity);
    }
}

/// Secret.
pub(super) fn secret(object: &mut Object) {
    default(object, "type", "Opaque");
}

/// LimitRange: maxima are default limits, default limits are default requests, minima too.
pub(super) fn limit_range(object: &mut Object) {
    let Some(spec) = child(object, "spec") else {
        return;
    };
    for limit in each(spec, "limits") {
        if text(limit, "type") == "Container" {
            copy_missing(limit, "max", "default");
            copy_missing(limit, "default", "defaultRequest");
            copy_missing(limit, "min", "defaultRequest");
        }
    }
}

/// RoleBinding and ClusterRoleBinding.
pub(super) fn role_binding(object: &mut Object) {
    if let Some(role) = child(object, "roleRef")
        && text(role, "apiGroup").is_empty()
    {
        role.insert("apiGroup".into(), Value::from(RBAC));
    }
    for subject in each(object, "subjects") {
        if matches!(text(subject, "kind"), "User" | "Group") {
            default(subject, "apiGroup", RBAC);
        }
    }
}

/// PriorityClass.
pub(super) fn priority_class(object: &mut Object) {
    default(object, "preemptionPolicy", "PreemptLowerPriority");
}

/// TokenRequest: an hour.
pub(super) fn token_request(object: &mut Object) {
    if let Some(spec) = ensure(object, "spec") {
        default(spec, "expirationSeconds", 3600);
    }
}

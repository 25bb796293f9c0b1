//! Environment of a container.

use serde_json::Value;

use super::super::get::{empty, field, list, named, text};
use crate::meta::{config_map_key, env_var_name};
use crate::status::{FieldErrors, Path};

/// Fields of the pod that an environment variable may show.
const FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// Resources of a container that a variable or file may show.
const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
];

/// `env` and `envFrom`.
pub(super) fn env(container: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    for (index, variable) in list(container, "env").iter().enumerate() {
        let path = path.child("env");
        let path = path.index(index);
        let name = text(variable, "name");
        if name.is_empty() {
            errors.required(&path.child("name"), "");
        } else {
            named(errors, &path.child("name"), name, env_var_name(name));
        }
        if let Some(source) = field(variable, "valueFrom") {
            value_from(source, !text(variable, "value").is_empty(), &path.child("valueFrom"), errors);
        }
    }
    for (index, source) in list(container, "envFrom").iter().enumerate() {
        let path = path.child("envFrom");
        let path = path.index(index);
        let prefix = text(source, "prefix");
        if !prefix.is_empty() {
            named(errors, &path.child("prefix"), prefix, env_var_name(prefix));
        }
        let mut sources = 0;
        for kind in ["configMapRef", "secretRef"] {
            if let Some(reference) = field(source, kind) {
                sources += 1;
                if text(reference, "name").is_empty() {
                    errors.required(&path.child(kind).child("name"), "");
                }
            }
        }
        match sources {
            0 => errors.invalid(&path, "", "must specify one of: `configMapRef` or `secretRef`"),
            1 => {}
            _ => errors.invalid(&path, "", "may not have more than one field specified at a time"),
        }
    }
}

fn value_from(source: &Value, has_value: bool, path: &Path<'_>, errors: &mut FieldErrors) {
    let mut sources = 0;
    if let Some(reference) = field(source, "fieldRef") {
        sources += 1;
        field_ref(reference, &FIELDS, &path.child("fieldRef"), errors);
    }
    if let Some(reference) = field(source, "resourceFieldRef") {
        sources += 1;
        resource_ref(reference, &path.child("resourceFieldRef"), errors);
    }
    for kind in ["configMapKeyRef", "secretKeyRef"] {
        if let Some(reference) = field(source, kind) {
            sources += 1;
            let path = path.child(kind);
            if text(reference, "name").is_empty() {
                errors.required(&path.child("name"), "");
            }
            let key = text(reference, "key");
            if key.is_empty() {
                errors.required(&path.child("key"), "");
            } else {
                named(errors, &path.child("key"), key, config_map_key(key));
            }
        }
    }
    sources += usize::from(field(source, "fileKeyRef").is_some());
    if sources == 0 {
        errors.invalid(
            path,
            "",
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`",
        );
    } else if has_value {
        errors.invalid(path, "", "may not be specified when `value` is not empty");
    } else if sources > 1 {
        errors.invalid(path, "", "may not have more than one field specified at a time");
    }
}

/// A reference to a field of the pod.
pub(super) fn field_ref(reference: &Value, allowed: &[&str], path: &Path<'_>, errors: &mut FieldErrors) {
    let (version, target) = (text(reference, "apiVersion"), text(reference, "fieldPath"));
    if version.is_empty() {
        errors.required(&path.child("apiVersion"), "");
        return;
    }
    if target.is_empty() {
        errors.required(&path.child("fieldPath"), "");
        return;
    }
    let subscripted = ["metadata.annotations['", "metadata.labels['"].iter().find_map(|p| target.strip_prefix(p));
    if let Some(key) = subscripted.and_then(|rest| rest.strip_suffix("']")) {
        named(errors, path, key, crate::meta::qualified_name(&key.to_lowercase()));
        return;
    }
    if !allowed.contains(&target) {
        let path = path.child("fieldPath");
        if target.contains("['") || !known_field(target) {
            errors.invalid(&path, target, format!("error converting fieldPath: field label not supported: {target}"));
        } else {
            errors.unsupported(&path, target, allowed);
        }
    }
}

fn known_field(target: &str) -> bool {
    FIELDS.contains(&target)
        || matches!(target, "metadata.labels" | "metadata.annotations" | "status.phase" | "spec.restartPolicy")
}

/// A reference to a resource of a container.
pub(super) fn resource_ref(reference: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let resource = text(reference, "resource");
    if resource.is_empty() {
        errors.required(&path.child("resource"), "");
    } else if !RESOURCES.contains(&resource) && !resource.contains("hugepages-") {
        errors.unsupported(&path.child("resource"), resource, &RESOURCES);
    }
    let divisor = text(reference, "divisor");
    let fits = match resource.rsplit('.').next().unwrap_or_default() {
        "cpu" => ["", "0", "1", "1m"].contains(&divisor),
        _ => empty(reference, "divisor") || !divisor.ends_with('m'),
    };
    if !fits {
        errors.invalid(
            &path.child("divisor"),
            divisor,
            "only divisor's values 1m and 1 are supported with the cpu resource",
        );
    }
}

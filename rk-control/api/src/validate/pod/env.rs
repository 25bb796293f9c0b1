//! Environment of a container.

use serde_json::Value;

use super::super::get::{field, list, named, required_name, text};
use super::mounts::relative;
use crate::meta::{config_map_key, dns1123_subdomain, env_var_name, qualified_name};
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

/// Units in which bytes are told.
const BYTES: [&str; 13] = ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];

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
        // Upstream tells of the number of sources at the list.
        let all = path.child("envFrom");
        let path = all.index(index);
        let prefix = text(source, "prefix");
        if !prefix.is_empty() {
            named(errors, &path.child("prefix"), prefix, env_var_name(prefix));
        }
        let mut sources = 0;
        for kind in ["configMapRef", "secretRef"] {
            if let Some(reference) = field(source, kind) {
                sources += 1;
                required_name(errors, &path.child(kind).child("name"), text(reference, "name"), generated_name);
            }
        }
        match sources {
            0 => errors.invalid(&all, "", "must specify one of: `configMapRef` or `secretRef`"),
            1 => {}
            _ => errors.invalid(&all, "", "may not have more than one field specified at a time"),
        }
    }
}

/// What is wrong with a name that may have been made for more to follow: it may end in a dash.
fn generated_name(name: &str) -> Vec<String> {
    match name.strip_suffix('-') {
        Some(base) if !base.is_empty() => dns1123_subdomain(&format!("{base}a")),
        _ => dns1123_subdomain(name),
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
        resource_ref(reference, false, &path.child("resourceFieldRef"), errors);
    }
    for kind in ["configMapKeyRef", "secretKeyRef"] {
        if let Some(reference) = field(source, kind) {
            sources += 1;
            let path = path.child(kind);
            let name = text(reference, "name");
            named(errors, &path.child("name"), name, dns1123_subdomain(name));
            let key = text(reference, "key");
            if key.is_empty() {
                errors.required(&path.child("key"), "");
            } else {
                named(errors, &path.child("key"), key, config_map_key(key));
            }
        }
    }
    if let Some(reference) = field(source, "fileKeyRef") {
        sources += 1;
        file_key(reference, &path.child("fileKeyRef"), errors);
    }
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

/// A variable from a file that another container wrote (KEP-3721).
fn file_key(reference: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    for name in ["volumeName", "path", "key"] {
        if text(reference, name).is_empty() {
            errors.required(&path.child(name), "");
        }
    }
    relative(text(reference, "path"), &path.child("path"), errors);
    let key = text(reference, "key");
    if !key.is_empty() {
        named(errors, &path.child("key"), key, env_var_name(key));
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
    let key = |prefix: &str| target.strip_prefix(prefix).and_then(|rest| rest.strip_suffix("']"));
    if version != "v1" {
        let why = format!("error converting fieldPath: unsupported pod version: {version}");
        errors.invalid(&path.child("fieldPath"), target, why);
    } else if let Some(key) = key("metadata.annotations['").map(str::to_lowercase) {
        named(errors, path, &key, qualified_name(&key));
    } else if let Some(key) = key("metadata.labels['") {
        named(errors, path, key, qualified_name(key));
    } else if !allowed.contains(&target) {
        let path = path.child("fieldPath");
        if target.contains("['") && target.ends_with("']") {
            let why = format!("error converting fieldPath: field label does not support subscript: {target}");
            errors.invalid(&path, target, why);
        } else if !known_field(target) {
            errors.invalid(&path, target, format!("error converting fieldPath: field label not supported: {target}"));
        } else {
            errors.unsupported(&path, target, allowed);
        }
    }
}

fn known_field(target: &str) -> bool {
    FIELDS.contains(&target)
        || matches!(
            target,
            "metadata.labels" | "metadata.annotations" | "status.phase" | "spec.restartPolicy" | "spec.schedulerName"
        )
}

/// A reference to a resource of a container. Files of a volume name the container, variables mean their own.
pub(super) fn resource_ref(reference: &Value, file: bool, path: &Path<'_>, errors: &mut FieldErrors) {
    let resource = text(reference, "resource");
    if file && text(reference, "containerName").is_empty() {
        errors.required(&path.child("containerName"), "");
    } else if resource.is_empty() {
        errors.required(&path.child("resource"), "");
    } else if !RESOURCES.contains(&resource) && !is_huge_pages(resource) {
        errors.unsupported(&path.child("resource"), resource, &RESOURCES);
    }
    divisor(resource, text(reference, "divisor"), &path.child("divisor"), errors);
}

fn is_huge_pages(resource: &str) -> bool {
    ["limits.hugepages-", "requests.hugepages-"].iter().any(|prefix| resource.starts_with(prefix))
}

/// The unit in which an amount is given; none for the resource's own.
fn divisor(resource: &str, divisor: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    let (allowed, shown): (&[&str], _) = match resource.split_once('.').map(|(_, name)| name) {
        Some("cpu") => (&["1m", "1"], "cpu"),
        Some("memory") => (&BYTES, "memory"),
        Some("ephemeral-storage") => (&BYTES, "local ephemeral storage"),
        Some(name) if name.starts_with("hugepages-") => (&BYTES, "hugepages"),
        _ => return,
    };
    if !matches!(divisor, "" | "0") && !allowed.contains(&divisor) {
        let why = format!("only divisor's values {} are supported with the {shown} resource", allowed.join(", "));
        errors.invalid(path, resource, if shown == "cpu" { why.replace("1m, 1 ", "1m and 1 ") } else { why });
    }
}

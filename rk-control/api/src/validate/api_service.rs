//! APIServices.

use serde_json::Value;

use super::admission;
use super::get::{empty, field, flag, int, list, named, text};
use crate::meta::{at, dns1035_label, dns1123_subdomain};
use crate::status::{FieldErrors, Path};

/// APIService.
pub(super) fn api_service(object: &Value, errors: &mut FieldErrors) {
    let spec = at(object, &["spec"]);
    let path = Path::new("spec");
    let (group, version) = (text(spec, "group"), text(spec, "version"));
    let want = format!("{version}.{group}");
    let name = text(at(object, &["metadata"]), "name");
    if !name.is_empty() && name != want {
        let metadata = Path::new("metadata");
        errors.invalid(&metadata.child("name"), name, format!("must be `spec.version+\".\"+spec.group`: {want:?}"));
    }
    if !group.is_empty() {
        named(errors, &path.child("group"), group, dns1123_subdomain(group));
    } else if version != "v1" {
        errors.required(&path.child("group"), "only v1 may have an empty group and it better be legacy kube");
    }
    named(errors, &path.child("version"), version, dns1035_label(version));
    for (key, max) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1000)] {
        let priority = int(spec, key).unwrap_or(0);
        if !(1..=max).contains(&priority) {
            errors.invalid(&path.child(key), priority, format!("must be positive and less than {max}"));
        }
    }
    match field(spec, "service") {
        None => local(spec, &path, errors),
        Some(service) => {
            remote(service, &path.child("service"), errors);
            if flag(spec, "insecureSkipTLSVerify") && !empty(spec, "caBundle") {
                errors.invalid(&path.child("insecureSkipTLSVerify"), true, "may not be true if caBundle is present");
            }
        }
    }
}

/// What this server serves itself needs no trust.
fn local(spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    if !empty(spec, "caBundle") {
        let shown = format!("{} bytes", text(spec, "caBundle").len() / 4 * 3);
        errors.invalid(&path.child("caBundle"), shown, "local APIServices may not have a caBundle");
    }
    if flag(spec, "insecureSkipTLSVerify") {
        let why = "local APIServices may not have insecureSkipTLSVerify";
        errors.invalid(&path.child("insecureSkipTLSVerify"), true, why);
    }
}

fn remote(service: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    for key in ["namespace", "name"] {
        if text(service, key).is_empty() {
            errors.required(&path.child(key), "");
        }
    }
    if let Some(port) = int(service, "port") {
        admission::port(port, &path.child("port"), errors);
    }
}

/// APIService, `status`.
pub(super) fn status(object: &Value, errors: &mut FieldErrors) {
    let path = Path::new("status");
    let all = path.child("conditions");
    for (index, condition) in list(at(object, &["status"]), "conditions").iter().enumerate() {
        let status = text(condition, "status");
        if !matches!(status, "True" | "False" | "Unknown") {
            errors.unsupported_as_listed(&all.index(index).child("status"), status, &["True", "False", "Unknown"]);
        }
    }
}

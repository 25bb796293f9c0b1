//! What a pod may say that names its operating system (KEP-2802).

use serde_json::Value;

use super::super::get::{empty, field, list, text};
use crate::meta::at;
use crate::status::{FieldErrors, Path};

/// Of the pod's security context, what only Linux has.
const LINUX_POD: [&str; 11] = [
    "appArmorProfile",
    "fsGroup",
    "fsGroupChangePolicy",
    "runAsGroup",
    "runAsUser",
    "seLinuxChangePolicy",
    "seLinuxOptions",
    "seccompProfile",
    "supplementalGroups",
    "supplementalGroupsPolicy",
    "sysctls",
];
/// Of a container's security context, what only Linux has.
const LINUX_CONTAINER: [&str; 10] = [
    "allowPrivilegeEscalation",
    "appArmorProfile",
    "capabilities",
    "privileged",
    "procMount",
    "readOnlyRootFilesystem",
    "runAsGroup",
    "runAsUser",
    "seLinuxOptions",
    "seccompProfile",
];
const KINDS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

/// Fields of the other system than the one that is named.
pub(super) fn fields(spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    match text(at(spec, &["os"]), "name") {
        "linux" => linux(spec, path, errors),
        "windows" => windows(spec, path, errors),
        _ => {}
    }
}

fn linux(spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let mut check = |holder: &Value, path: &Path<'_>| {
        if field(at(holder, &["securityContext"]), "windowsOptions").is_some() {
            let path = path.child("securityContext");
            errors.forbidden(&path.child("windowsOptions"), "windows options cannot be set for a linux pod");
        }
    };
    check(spec, path);
    for kind in KINDS {
        for (index, container) in list(spec, kind).iter().enumerate() {
            check(container, &path.child(kind).index(index));
        }
    }
}

fn windows(spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let mut none = |holder: &Value, keys: &[&str], path: &Path<'_>| {
        for key in keys.iter().filter(|key| !empty(holder, key)) {
            errors.forbidden(&path.child(key), "cannot be set for a windows pod");
        }
    };
    let security = at(spec, &["securityContext"]);
    none(security, &LINUX_POD, &path.child("securityContext"));
    // They are written always; only a pod that turns them on means them.
    let on: Vec<&str> = ["hostIPC", "hostPID", "shareProcessNamespace"]
        .into_iter()
        .filter(|key| spec.get(*key).and_then(Value::as_bool) == Some(true))
        .collect();
    none(spec, &on, path);
    none(spec, &["hostUsers"], path);
    for kind in KINDS {
        for (index, container) in list(spec, kind).iter().enumerate() {
            let path = path.child(kind);
            let path = path.index(index);
            none(at(container, &["securityContext"]), &LINUX_CONTAINER, &path.child("securityContext"));
        }
    }
}

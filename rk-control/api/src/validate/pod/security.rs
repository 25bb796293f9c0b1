//! Security contexts.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::get::{field, flag, in_range, int, list, one_of, text};
use super::mounts::relative;
use super::windows;
use crate::meta::at;
use crate::status::{FieldErrors, Path, SECCOMP_PROFILE};

/// The greatest number of a user or group.
pub(super) const MAX_ID: i64 = i32::MAX as i64;

fn ids(context: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    for key in ["runAsUser", "runAsGroup", "fsGroup"] {
        if let Some(id) = int(context, key) {
            in_range(errors, &path.child(key), id, 0, MAX_ID);
        }
    }
}

/// Longest name of a profile that the node's administrator loaded.
const MAX_PROFILE: usize = 4095;

/// `seccompProfile`.
fn seccomp(context: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let Some(profile) = field(context, "seccompProfile") else { return };
    let path = path.child("seccompProfile");
    let (kind, local) = (text(profile, "type"), field(profile, "localhostProfile"));
    if kind.is_empty() {
        errors.required(&path.child("type"), "type is required when seccompProfile is set");
    }
    one_of(errors, &path.child("type"), kind, &["Localhost", "RuntimeDefault", "Unconfined"], false);
    let path = path.child("localhostProfile");
    match (kind, local) {
        ("Localhost", None) => errors.required(&path, "must be set when seccomp type is Localhost"),
        ("Localhost", Some(local)) => relative(local.as_str().unwrap_or_default(), &path, errors),
        (_, Some(_)) => {
            errors.invalid(&path, SECCOMP_PROFILE.of(profile), "can only be set when seccomp type is Localhost");
        }
        (_, None) => {}
    }
}

/// `appArmorProfile`.
fn app_armor(context: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let Some(profile) = field(context, "appArmorProfile") else { return };
    let path = path.child("appArmorProfile");
    let (kind, local) = (text(profile, "type"), field(profile, "localhostProfile"));
    if kind.is_empty() {
        errors.required(&path.child("type"), "type is required when appArmorProfile is set");
    }
    one_of(errors, &path.child("type"), kind, &["Localhost", "RuntimeDefault", "Unconfined"], false);
    let path = path.child("localhostProfile");
    match (kind, local.and_then(Value::as_str)) {
        ("Localhost", None | Some("")) => errors.required(&path, "must be set when AppArmor type is Localhost"),
        ("Localhost", Some(name)) if name.trim() != name => {
            errors.invalid(&path, name, "must not be padded with whitespace");
        }
        ("Localhost", Some(name)) if name.len() > MAX_PROFILE => errors.too_long(&path, MAX_PROFILE),
        ("RuntimeDefault" | "Unconfined", Some(name)) => {
            errors.invalid(&path, name, "can only be set when AppArmor type is Localhost");
        }
        _ => {}
    }
}

/// The security context of the pod.
pub(super) fn pod(spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let Some(context) = field(spec, "securityContext") else { return };
    let path = path.child("securityContext");
    ids(context, &path, errors);
    for (index, group) in list(context, "supplementalGroups").iter().enumerate() {
        in_range(errors, &path.child("supplementalGroups").index(index), group.as_i64().unwrap_or(0), 0, MAX_ID);
    }
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for (index, sysctl) in list(context, "sysctls").iter().enumerate() {
        let name = text(sysctl, "name");
        let path = path.child("sysctls");
        let path = path.index(index);
        if name.is_empty() {
            errors.required(&path.child("name"), "");
        } else if !is_sysctl(name) {
            let why = "must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
            errors.invalid(&path.child("name"), name, why);
        } else if seen.contains(&name) {
            errors.duplicate(&path.child("name"), name);
        }
        if let Some(why) = of_the_node(name, spec) {
            errors.invalid(&path.child("name"), name, why);
        }
        seen.insert(name);
    }
    one_of(
        errors,
        &path.child("fsGroupChangePolicy"),
        text(context, "fsGroupChangePolicy"),
        &["OnRootMismatch", "Always"],
        false,
    );
    let groups = text(context, "supplementalGroupsPolicy");
    one_of(errors, &path.child("supplementalGroupsPolicy"), groups, &["Merge", "Strict"], false);
    let relabel = text(context, "seLinuxChangePolicy");
    one_of(errors, &path.child("seLinuxChangePolicy"), relabel, &["MountOption", "Recursive"], false);
    seccomp(context, &path, errors);
    app_armor(context, &path, errors);
    windows::options(context, &path, errors);
}

/// A sysctl of a namespace that the pod shares with its node would be the node's.
fn of_the_node(name: &str, spec: &Value) -> Option<&'static str> {
    let name = name.replace('/', ".");
    let ipc = ["kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue."].iter().any(|start| name.starts_with(start));
    match () {
        () if flag(spec, "hostNetwork") && name.starts_with("net.") => {
            Some("may not be specified when 'hostNetwork' is true")
        }
        () if flag(spec, "hostIPC") && ipc => Some("may not be specified when 'hostIPC' is true"),
        () => None,
    }
}

fn is_sysctl(name: &str) -> bool {
    let edge = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let part = |p: &str| {
        let b = p.as_bytes();
        b.first().copied().is_some_and(edge)
            && b.last().copied().is_some_and(edge)
            && b.iter().all(|b| edge(*b) || matches!(b, b'-' | b'_'))
    };
    name.len() <= 253 && name.split(['.', '/']).all(part)
}

/// The security context of a container.
pub(super) fn container(container: &Value, spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let Some(context) = field(container, "securityContext") else { return };
    ids(context, path, errors);
    seccomp(context, path, errors);
    app_armor(context, path, errors);
    windows::options(context, path, errors);
    one_of(errors, &path.child("procMount"), text(context, "procMount"), &["Default", "Unmasked"], false);
    if text(context, "procMount") == "Unmasked" && spec.get("hostUsers").and_then(Value::as_bool) != Some(false) {
        errors.invalid(&path.child("procMount"), "Unmasked", "`hostUsers` must be false to use `Unmasked`");
    }
    if context.get("allowPrivilegeEscalation").and_then(Value::as_bool) == Some(false) {
        if flag(context, "privileged") {
            errors.invalid(
                path,
                context.clone(),
                "cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
            );
        }
        let added = list(at(context, &["capabilities"]), "add").iter().any(|c| c.as_str() == Some("CAP_SYS_ADMIN"));
        if added {
            let why = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.invalid(path, context.clone(), why);
        }
    }
}

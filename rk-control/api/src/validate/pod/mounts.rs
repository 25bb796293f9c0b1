//! What a container sees of the pod's volumes: mounted directories and raw devices.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::get::{empty, field, flag, list, one_of, text};
use crate::status::{FieldErrors, Path};

const PROPAGATION: [&str; 3] = ["Bidirectional", "HostToContainer", "None"];
const RECURSIVE_READ_ONLY: [&str; 3] = ["Disabled", "Enabled", "IfPossible"];

/// `volumeMounts`. `volumes` are the names that mounts may use, with whether each may be a block device.
pub(super) fn mounts(container: &Value, path: &Path<'_>, volumes: &BTreeMap<&str, bool>, errors: &mut FieldErrors) {
    let devices = list(container, "volumeDevices");
    let device_names: BTreeSet<&str> = devices.iter().map(|device| text(device, "name")).collect();
    let device_paths: BTreeSet<&str> = devices.iter().map(|device| text(device, "devicePath")).collect();
    let mut paths: BTreeSet<&str> = BTreeSet::new();
    for (index, mount) in list(container, "volumeMounts").iter().enumerate() {
        let all = path.child("volumeMounts");
        let path = all.index(index);
        let (name, target) = (text(mount, "name"), text(mount, "mountPath"));
        if name.is_empty() {
            errors.required(&path.child("name"), "");
        }
        if !volumes.contains_key(name) {
            errors.not_found(&path.child("name"), name);
        }
        if target.is_empty() {
            errors.required(&path.child("mountPath"), "");
        }
        if !paths.insert(target) {
            errors.invalid(&path.child("mountPath"), target, "must be unique");
        }
        if device_names.contains(name) {
            errors.invalid(&path.child("name"), name, "must not already exist in volumeDevices");
        }
        if device_paths.contains(target) {
            errors.invalid(&path.child("mountPath"), target, "must not already exist as a path in volumeDevices");
        }
        inside(mount, &all, &path, errors);
        shared(mount, container, &all, errors);
    }
}

/// Where in its volume a mount begins. Upstream tells of some rules at the list of `all` mounts.
fn inside(mount: &Value, all: &Path<'_>, path: &Path<'_>, errors: &mut FieldErrors) {
    relative(text(mount, "subPath"), &all.child("subPath"), errors);
    relative(text(mount, "subPathExpr"), &all.child("subPathExpr"), errors);
    if !empty(mount, "subPath") && !empty(mount, "subPathExpr") {
        let why = "subPathExpr and subPath are mutually exclusive";
        errors.invalid(&path.child("subPathExpr"), text(mount, "subPathExpr"), why);
    }
}

/// What of later mounts passes through, and how deep read-only goes (KEP-3857).
fn shared(mount: &Value, container: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let propagation = text(mount, "mountPropagation");
    let here = path.child("mountPropagation");
    one_of(errors, &here, propagation, &PROPAGATION, false);
    let privileged = field(container, "securityContext").is_some_and(|s| flag(s, "privileged"));
    if propagation == "Bidirectional" && !privileged {
        let why = "Bidirectional mount propagation is available only to privileged containers";
        errors.forbidden(&here, why);
    }
    let recursive = text(mount, "recursiveReadOnly");
    let here = path.child("recursiveReadOnly");
    one_of(errors, &here, recursive, &RECURSIVE_READ_ONLY, false);
    if matches!(recursive, "Enabled" | "IfPossible") {
        if !flag(mount, "readOnly") {
            errors.forbidden(&here, "may only be specified when readOnly is true");
        }
        if !matches!(propagation, "" | "None") {
            errors.forbidden(&here, "may only be specified when mountPropagation is None or not specified");
        }
    }
}

/// `volumeDevices`: claims as block devices.
pub(super) fn devices(container: &Value, path: &Path<'_>, volumes: &BTreeMap<&str, bool>, errors: &mut FieldErrors) {
    let mounts = list(container, "volumeMounts");
    let mount_names: BTreeSet<&str> = mounts.iter().map(|mount| text(mount, "name")).collect();
    let mount_paths: BTreeSet<&str> = mounts.iter().map(|mount| text(mount, "mountPath")).collect();
    let (mut names, mut paths): (BTreeSet<&str>, BTreeSet<&str>) = Default::default();
    for (index, device) in list(container, "volumeDevices").iter().enumerate() {
        let path = path.child("volumeDevices");
        let path = path.index(index);
        let (name, target) = (text(device, "name"), text(device, "devicePath"));
        let (here, there) = (path.child("name"), path.child("devicePath"));
        if name.is_empty() {
            errors.required(&here, "");
        }
        if !names.insert(name) {
            errors.invalid(&here, name, "must be unique");
        }
        match volumes.get(name) {
            None => errors.not_found(&here, name),
            Some(true) => {}
            Some(false) => {
                let why = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.invalid(&here, name, why);
            }
        }
        if target.is_empty() {
            errors.required(&there, "");
        }
        if !paths.insert(target) {
            errors.invalid(&there, target, "must be unique");
        }
        if target.split('/').any(|part| part == "..") {
            errors.invalid(&there, target, "can not contain backsteps ('..')");
        }
        if mount_names.contains(name) {
            errors.invalid(&here, name, "must not already exist in volumeMounts");
        }
        if mount_paths.contains(target) {
            errors.invalid(&there, target, "must not already exist as a path in volumeMounts");
        }
    }
}

/// A path that stays inside its volume.
pub(super) fn relative(target: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    if target.starts_with('/') {
        errors.invalid(path, target, "must be a relative path");
    }
    if target.split('/').any(|part| part == "..") {
        errors.invalid(path, target, "must not contain '..'");
    }
}

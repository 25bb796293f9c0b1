//! Containers of a pod.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::get::{empty, field, flag, list, named, one_of, required_of_listed, text};
use super::super::resources;
use super::{Owner, claims, env, mounts, probe, restart, security};
use crate::meta::{dns1123_label, in_range, port_name};
use crate::status::{FieldErrors, Path};

/// What containers may name of their pod.
pub(super) struct Names<'a> {
    /// Volumes, with whether each may be a block device.
    pub(super) volumes: BTreeMap<&'a str, bool>,
    /// Claims of devices.
    pub(super) claims: BTreeSet<&'a str>,
}

/// All containers of a spec.
pub(super) fn containers(spec: &Value, path: &Path<'_>, owner: Owner, names: &Names<'_>, errors: &mut FieldErrors) {
    if list(spec, "containers").is_empty() {
        errors.required(&path.child("containers"), "");
    }
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for (index, container) in list(spec, "containers").iter().enumerate() {
        let path = path.child("containers");
        let path = path.index(index);
        one(container, spec, &path, names, errors);
        lifecycle(container, spec, &path, errors);
        image(container, owner, &path, errors);
        unique(container, &path, &mut seen, errors);
    }
    for (index, container) in list(spec, "initContainers").iter().enumerate() {
        let path = path.child("initContainers");
        let path = path.index(index);
        one(container, spec, &path, names, errors);
        init(container, spec, &path, errors);
        image(container, owner, &path, errors);
        unique(container, &path, &mut seen, errors);
    }
    for (index, container) in list(spec, "ephemeralContainers").iter().enumerate() {
        let path = path.child("ephemeralContainers");
        let path = path.index(index);
        one(container, spec, &path, names, errors);
        ephemeral(container, spec, &path, errors);
        image(container, Owner::Pod, &path, errors);
        unique(container, &path, &mut seen, errors);
    }
    host_ports(spec, path, errors);
}

fn unique<'a>(container: &'a Value, path: &Path<'_>, names: &mut BTreeSet<&'a str>, errors: &mut FieldErrors) {
    let name = text(container, "name");
    if !names.insert(name) && !name.is_empty() {
        errors.duplicate(&path.child("name"), name);
    }
}

/// What holds for every container.
fn one(container: &Value, spec: &Value, path: &Path<'_>, names: &Names<'_>, errors: &mut FieldErrors) {
    let name = text(container, "name");
    if name.is_empty() {
        errors.required(&path.child("name"), "");
    } else {
        named(errors, &path.child("name"), name, dns1123_label(name));
    }
    if text(container, "image").is_empty() {
        errors.required(&path.child("image"), "");
    }
    let policy = text(container, "terminationMessagePolicy");
    required_of_listed(errors, &path.child("terminationMessagePolicy"), policy, &["File", "FallbackToLogsOnError"]);
    ports(container, &path.child("ports"), errors);
    env::env(container, path, errors);
    mounts::mounts(container, path, &names.volumes, errors);
    mounts::devices(container, path, &names.volumes, errors);
    restart::resize(container, spec, path, errors);
    one_of(
        errors,
        &path.child("imagePullPolicy"),
        text(container, "imagePullPolicy"),
        &["Always", "IfNotPresent", "Never"],
        true,
    );
    if let Some(resources) = field(container, "resources") {
        resources::requirements(resources, &path.child("resources"), errors);
        claims::used(resources, &names.claims, &path.child("resources"), errors);
    }
    security::container(container, spec, &path.child("securityContext"), errors);
}

/// Templates may have a placeholder for an image.
fn image(container: &Value, owner: Owner, path: &Path<'_>, errors: &mut FieldErrors) {
    let image = text(container, "image");
    if owner == Owner::Pod && image.trim() != image {
        errors.invalid(&path.child("image"), image, "must not have leading or trailing whitespace");
    }
}

fn lifecycle(container: &Value, spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    if let Some(lifecycle) = field(container, "lifecycle") {
        let path = path.child("lifecycle");
        for hook in ["postStart", "preStop"] {
            if let Some(handler) = field(lifecycle, hook) {
                probe::hook(handler, spec, &path.child(hook), errors);
            }
        }
    }
    probe::probes(container, path, errors);
    restart::policy(container, path, errors);
}

/// Probes and hooks are for init containers that keep running.
fn init(container: &Value, spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    if text(container, "restartPolicy") == "Always" {
        lifecycle(container, spec, path, errors);
        return;
    }
    restart::policy(container, path, errors);
    for key in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
        if field(container, key).is_some() {
            errors.forbidden(&path.child(key), "may not be set for init containers without restartPolicy=Always");
        }
    }
}

fn ephemeral(container: &Value, spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    for key in [
        "ports",
        "livenessProbe",
        "readinessProbe",
        "startupProbe",
        "lifecycle",
        "resizePolicy",
        "restartPolicy",
        "restartPolicyRules",
    ] {
        if !empty(container, key) {
            errors.forbidden(&path.child(key), "cannot be set for an Ephemeral Container");
        }
    }
    let asks = |resources: &Value| ["limits", "requests", "claims"].iter().any(|key| !empty(resources, key));
    if field(container, "resources").is_some_and(asks) {
        errors.forbidden(&path.child("resources"), "cannot be set for an Ephemeral Container");
    }
    for (index, mount) in list(container, "volumeMounts").iter().enumerate() {
        let path = path.child("volumeMounts");
        let path = path.index(index);
        for key in ["subPath", "subPathExpr"] {
            if !empty(mount, key) {
                errors.forbidden(&path.child(key), "cannot be set for an Ephemeral Container");
            }
        }
    }
    let target = text(container, "targetContainerName");
    let known =
        ["containers", "initContainers"].iter().any(|l| list(spec, l).iter().any(|c| text(c, "name") == target));
    if !target.is_empty() && !known {
        errors.not_found(&path.child("targetContainerName"), target);
    }
}

fn ports(container: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for (index, port) in list(container, "ports").iter().enumerate() {
        let path = path.index(index);
        let name = text(port, "name");
        if !name.is_empty() {
            let wrong = port_name(name);
            let proper = wrong.is_empty();
            named(errors, &path.child("name"), name, wrong);
            if proper && !names.insert(name) {
                errors.duplicate(&path.child("name"), name);
            }
        }
        let number = super::super::get::int(port, "containerPort").unwrap_or(0);
        if number == 0 {
            errors.required(&path.child("containerPort"), "");
        } else {
            for rule in in_range(number, 1, 65535) {
                errors.invalid(&path.child("containerPort"), number, rule);
            }
        }
        let host = super::super::get::int(port, "hostPort").unwrap_or(0);
        if host != 0 {
            for rule in in_range(host, 1, 65535) {
                errors.invalid(&path.child("hostPort"), host, rule);
            }
        }
        one_of(errors, &path.child("protocol"), text(port, "protocol"), &["TCP", "UDP", "SCTP"], true);
    }
}

/// Two containers of a pod cannot have one host port. Init containers run one by one: each has its ports alone.
fn host_ports(spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    unique_host_ports(list(spec, "containers"), flag(spec, "hostNetwork"), &path.child("containers"), errors);
    for container in list(spec, "initContainers") {
        unique_host_ports(std::slice::from_ref(container), false, &path.child("initContainers"), errors);
    }
}

fn unique_host_ports(containers: &[Value], host_network: bool, path: &Path<'_>, errors: &mut FieldErrors) {
    let mut taken: BTreeSet<(&str, &str, i64)> = BTreeSet::new();
    for (index, container) in containers.iter().enumerate() {
        for (at, port) in list(container, "ports").iter().enumerate() {
            let host = super::super::get::int(port, "hostPort").unwrap_or(0);
            let own = super::super::get::int(port, "containerPort").unwrap_or(0);
            let here = path.index(index);
            let here = here.child("ports");
            let here = here.index(at);
            if host == 0 {
                continue;
            }
            if host_network && host != own {
                errors.invalid(&here.child("hostPort"), host, "must match `containerPort` when `hostNetwork` is true");
            }
            let key = (text(port, "hostIP"), text(port, "protocol"), host);
            if !taken.insert(key) {
                errors.duplicate(&here.child("hostPort"), format!("{}/{}/{host}", key.1, key.0));
            }
        }
    }
}

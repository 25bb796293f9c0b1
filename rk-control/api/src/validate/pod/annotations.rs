//! Annotations of pods that mean something to the system.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::get::{entries, field, list, text};
use super::mounts::relative;
use crate::meta::at;
use crate::status::{FieldErrors, Path};

/// Marks the copy of a pod that its node has from a file.
pub(super) const MIRROR: &str = "kubernetes.io/config.mirror";
/// What it costs to delete a pod, beside its siblings.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
/// The profile of a container, before there was a field for it.
const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// The filter of a pod's system calls, before there was a field for it, and that of a container.
const SECCOMP: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_OF: &str = "container.seccomp.security.alpha.kubernetes.io/";
/// How a profile begins that is a file of the node's.
const LOCAL: &str = "localhost/";
const KINDS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// Annotations of a pod or template.
pub(super) fn check(metadata: &Value, spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let mut known: Option<BTreeSet<&str>> = None;
    for (key, value) in entries(metadata, "annotations") {
        let value = value.as_str().unwrap_or_default();
        let here = path.key(key);
        if key == MIRROR && text(spec, "nodeName").is_empty() {
            errors.invalid(&here, value, "must set spec.nodeName if mirror pod annotation is set");
        }
        if key == DELETION_COST && !is_cost(value) {
            errors.invalid(&here, value, "must be a 32bit integer");
        }
        if key == SECCOMP || key.starts_with(SECCOMP_OF) {
            seccomp(value, &path.child(key), errors);
        }
        if let Some(container) = key.strip_prefix(APP_ARMOR) {
            if !known.get_or_insert_with(|| containers(spec)).contains(container) {
                errors.invalid(&here, container, "container not found");
            }
            if !matches!(value, "" | "runtime/default" | "unconfined") && !value.starts_with(LOCAL) {
                errors.invalid(&here, value, format!("invalid AppArmor profile name: {value:?}"));
            }
        }
    }
}

/// The profile of a container or of the pod, as an annotation of old names it.
fn seccomp(profile: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    match profile.strip_prefix(LOCAL) {
        Some(file) => relative(file, path, errors),
        None if matches!(profile, "runtime/default" | "docker/default" | "unconfined") => {}
        None => errors.invalid(path, profile, "must be a valid seccomp profile"),
    }
}

fn field_of<'a>(holder: &'a Value, key: &str) -> Option<&'a Value> {
    field(at(holder, &["securityContext"]), key)
}

/// Annotations and fields that name profiles of a new pod or template name the same ones. `path` is that of the spec.
pub(super) fn agree(metadata: &Value, spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let noted = |key: &str| at(metadata, &["annotations", key]).as_str();
    let linux = text(at(spec, &["os"]), "name") != "windows";
    if let (Some(noted), Some(profile)) = (noted(SECCOMP), field_of(spec, "seccompProfile")) {
        same("seccomp", noted, profile, &path.child("securityContext").child("seccompProfile"), errors);
    }
    for kind in KINDS {
        for (index, container) in list(spec, kind).iter().enumerate() {
            let here = path.child(kind);
            let here = here.index(index);
            let here = here.child("securityContext");
            let of = |prefix: &str| noted(&format!("{prefix}{}", text(container, "name")));
            if let (Some(noted), Some(profile)) = (of(SECCOMP_OF), field_of(container, "seccompProfile")) {
                same("seccomp", noted, profile, &here.child("seccompProfile"), errors);
            }
            let key = "appArmorProfile";
            let profile = field_of(container, key).or_else(|| field_of(spec, key)).filter(|_| linux);
            if let (Some(noted), Some(profile)) = (of(APP_ARMOR), profile) {
                same("apparmor", noted, profile, &here.child(key), errors);
            }
        }
    }
}

fn same(what: &str, noted: &str, profile: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let file = noted.strip_prefix(LOCAL);
    let (fits, local) = match text(profile, "type") {
        "Unconfined" => (noted == "unconfined", false),
        "RuntimeDefault" => (noted == "runtime/default" || (what == "seccomp" && noted == "docker/default"), false),
        "Localhost" => (file.is_some(), true),
        _ => (true, false),
    };
    if !fits {
        errors.forbidden(&path.child("type"), format!("{what} type in annotation and field must match"));
    } else if local && profile.get("localhostProfile").and_then(Value::as_str) != file {
        let why = format!("{what} profile in annotation and field must match");
        errors.forbidden(&path.child("localhostProfile"), why);
    }
}

/// A number without a plus sign or zeros in front.
fn is_cost(value: &str) -> bool {
    let begins_well = value == "0" || value.starts_with(|first: char| first == '-' || ('1'..='9').contains(&first));
    begins_well && value.parse::<i32>().is_ok()
}

fn containers(spec: &Value) -> BTreeSet<&str> {
    KINDS.iter().flat_map(|kind| list(spec, kind)).map(|container| text(container, "name")).collect()
}

/// What says where a pod is from, and how it is confined, is written once.
pub(super) fn update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let (new, old) = (at(new, &["metadata"]), at(old, &["metadata"]));
    let path = Path::new("metadata");
    let path = path.child("annotations");
    for (key, value) in entries(old, "annotations") {
        if at(new, &["annotations", key]) == value {
            continue;
        }
        if key.starts_with(APP_ARMOR) {
            errors.forbidden(&path.key(key), "may not remove or update AppArmor annotations");
        }
        if key == MIRROR {
            errors.forbidden(&path.key(key), "may not remove or update mirror pod annotation");
        }
    }
    for (key, _) in entries(new, "annotations").filter(|(key, _)| at(old, &["annotations", key]).is_null()) {
        if key.starts_with(APP_ARMOR) {
            errors.forbidden(&path.key(key), "may not add AppArmor annotations");
        }
        if key == MIRROR {
            errors.forbidden(&path.key(key), "may not add mirror pod annotation");
        }
    }
}

//! Persistent volumes.

use serde_json::Value;

use super::get::{empty, entries, field, immutable, named, one_of, required_name, strings, text};
use super::pod;
use super::sources;
use super::storage::amount;
use crate::meta::{at, dns1123_label, dns1123_subdomain};
use crate::status::{FieldErrors, Path};

const ACCESS_MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
pub(super) const ATTRIBUTES: &str = "volumeAttributesClassName";
pub(super) const VOLUME_MODES: [&str; 2] = ["Block", "Filesystem"];

pub(super) fn access_modes(spec: &Value, why: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    let path = path.child("accessModes");
    if empty(spec, "accessModes") {
        errors.required(&path, why);
    }
    let modes: Vec<&str> = strings(spec, "accessModes").collect();
    for mode in &modes {
        one_of(errors, &path, mode, &ACCESS_MODES, false);
    }
    let others = |mode: &&str| *mode != "ReadWriteOncePod" && ACCESS_MODES.contains(mode);
    if modes.contains(&"ReadWriteOncePod") && modes.iter().any(others) {
        errors.forbidden(&path, "may not use ReadWriteOncePod with other access modes");
    }
}

/// PersistentVolume.
pub(super) fn volume(object: &Value, errors: &mut FieldErrors) {
    let spec = at(object, &["spec"]);
    let path = Path::new("spec");
    access_modes(spec, "", &path, errors);
    if empty(spec, "capacity") {
        errors.required(&path.child("capacity"), "");
    }
    let here = path.child("capacity");
    if !entries(spec, "capacity").map(|(name, _)| name).eq(["storage"]) {
        errors.unsupported(&here, at(spec, &["capacity"]).clone(), &["storage"]);
    }
    for (name, value) in entries(spec, "capacity") {
        proper(value, &here.key(name), errors);
        if amount(value).is_none_or(|a| a.sign() <= 0) {
            errors.invalid(&here.key(name), value.clone(), "must be greater than zero");
        }
    }
    let policy = text(spec, "persistentVolumeReclaimPolicy");
    one_of(errors, &path.child("persistentVolumeReclaimPolicy"), policy, &["Delete", "Recycle", "Retain"], false);
    one_of(errors, &path.child("volumeMode"), text(spec, "volumeMode"), &VOLUME_MODES, false);
    let class = text(spec, "storageClassName");
    if !class.is_empty() {
        named(errors, &path.child("storageClassName"), class, dns1123_subdomain(class));
    }
    if let Some(affinity) = field(spec, "nodeAffinity") {
        let path = path.child("nodeAffinity");
        match field(affinity, "required") {
            Some(selector) => pod::node_selector(selector, &path.child("required"), errors),
            None => errors.required(&path.child("required"), "must specify required node constraints"),
        }
    }
    sources(text(at(object, &["metadata"]), "name"), spec, &path, errors);
    attributes(spec, &path, errors);
    if !at(object, &["metadata", "annotations", OPTIONS_OF_OLD]).is_null()
        && !MOUNTED_AS_OF_OLD.iter().any(|kind| field(spec, kind).is_some())
    {
        let here = Path::new("metadata.annotations");
        errors.forbidden(&here.child(OPTIONS_OF_OLD), "may not specify mount options for this volume type");
    }
}

/// An amount that there can be.
pub(super) fn proper(value: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    if let Some(amount) = amount(value).filter(|amount| amount.sign() < 0) {
        errors.invalid(path, amount.units(), "must be a valid resource quantity");
    }
}

/// The class of attributes of a volume that a driver has.
fn attributes(spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let Some(class) = field(spec, ATTRIBUTES).and_then(Value::as_str) else { return };
    let here = path.child(ATTRIBUTES);
    if class.is_empty() {
        errors.required(&here, "an empty string is disallowed");
    } else {
        named(errors, &here, class, dns1123_subdomain(class));
    }
    if field(spec, "csi").is_none() {
        errors.required(&path.child("csi"), "has to be specified when using volumeAttributesClassName");
    }
}

/// A volume that an attachment describes instead of naming it: a driver's volume of a pod, with nothing that only claims ask for.
pub(super) fn inline(spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    for key in ["claimRef", "capacity", "nodeAffinity", "storageClassName"] {
        if !empty(spec, key) {
            errors.forbidden(&path.child(key), "may not be specified in the context of inline volumes");
        }
    }
    if field(spec, "csi").is_none() {
        errors.required(&path.child("csi"), "has to be specified in the context of inline volumes");
    }
    access_modes(spec, "", path, errors);
    if !matches!(text(spec, "persistentVolumeReclaimPolicy"), "" | "Retain") {
        let why = "may only be Retain in the context of inline volumes";
        errors.forbidden(&path.child("persistentVolumeReclaimPolicy"), why);
    }
    sources("", spec, path, errors);
    if !matches!(text(spec, "volumeMode"), "" | "Filesystem") {
        let why = "may not specify volumeMode other than Filesystem in the context of inline volumes";
        errors.forbidden(&path.child("volumeMode"), why);
    }
    attributes(spec, path, errors);
}

/// Kinds of sources, in the order in which the first of several is taken.
const PV_SOURCES: [&str; 22] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "scaleIO",
    "local",
    "storageos",
    "csi",
];
/// Kinds whose mount options an annotation may name.
const MOUNTED_AS_OF_OLD: [&str; 13] = [
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "nfs",
    "rbd",
    "quobyte",
    "iscsi",
    "cinder",
    "cephfs",
    "azureFile",
    "vsphereVolume",
    "azureDisk",
    "photonPersistentDisk",
];
const OPTIONS_OF_OLD: &str = "volume.beta.kubernetes.io/mount-options";
/// What secrets name besides what those of a pod's volumes do.
const SECRETS: [(&str, &str); 3] = [("iscsi", "name"), ("cinder", "namespace"), ("storageos", "namespace")];

const CSI_SECRETS: [&str; 4] =
    ["controllerPublishSecretRef", "controllerExpandSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef"];

fn sources(name: &str, spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let mut found = 0;
    for kind in PV_SOURCES {
        let Some(source) = field(spec, kind) else { continue };
        found += 1;
        let (inner, whole) = sources::told_as(kind);
        if found > 1 {
            errors.forbidden(&path.child(whole), "may not specify more than 1 volume type");
            continue;
        }
        let here = path.child(inner);
        sources::fields(kind, source, &here, errors);
        for (_, word) in SECRETS.iter().filter(|(known, _)| *known == kind) {
            sources::secret(source, &[*word], &here, errors);
        }
        if sources::too_long_for_iscsi(name, kind, source) {
            // Upstream's path is in small letters.
            let portal = text(source, "targetPortal");
            errors.invalid(&here.child("targetportal"), portal, sources::TOO_LONG_FOR_ISCSI);
        }
        let namespace = |key| field(source, key).and_then(Value::as_str);
        match (kind, namespace("endpointsNamespace"), namespace("secretNamespace")) {
            ("glusterfs", Some(""), _) => {
                let why = "if the endpointnamespace is set, it must be a valid namespace name";
                errors.invalid(&here.child("endpointsNamespace"), "", why);
            }
            ("glusterfs", Some(name), _) => {
                named(errors, &here.child("endpointsNamespace"), name, dns1123_label(name));
            }
            ("azureFile", _, Some("")) => errors.required(&here.child("secretNamespace"), ""),
            _ => {}
        }
        if kind == "csi" {
            sources::driver(text(source, "driver"), &here.child("driver"), errors);
            if text(source, "volumeHandle").is_empty() {
                errors.required(&here.child("volumeHandle"), "");
            }
            for key in CSI_SECRETS {
                if let Some(secret) = field(source, key) {
                    let here = here.child(key);
                    required_name(errors, &here.child("name"), text(secret, "name"), dns1123_subdomain);
                    required_name(errors, &here.child("namespace"), text(secret, "namespace"), dns1123_label);
                }
            }
        }
        let root = kind == "hostPath" && is_root(text(source, "path"));
        if root && text(spec, "persistentVolumeReclaimPolicy") == "Recycle" {
            let why = "may not be 'recycle' for a hostPath mount of '/'";
            errors.forbidden(&path.child("persistentVolumeReclaimPolicy"), why);
        }
        if kind == "local" && field(spec, "nodeAffinity").is_none() {
            errors.required(&path.child("nodeAffinity"), "Local volume requires node affinity");
        }
    }
    if found == 0 {
        errors.required(path, "must specify a volume type");
    }
}

/// Whether a path leads to where all begin.
fn is_root(path: &str) -> bool {
    let below = |depth: usize, part: &str| match part {
        "" | "." => depth,
        ".." => depth.saturating_sub(1),
        _ => depth + 1,
    };
    path.starts_with('/') && path.split('/').fold(0, below) == 0
}

/// The source of a volume is for ever.
pub(super) fn volume_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let (new, old) = (at(new, &["spec"]), at(old, &["spec"]));
    let same = |kind: &str| field(new, kind) == field(old, kind) || (kind == "csi" && only_expands(new, old));
    if !PV_SOURCES.iter().copied().all(same) {
        errors.forbidden(
            &Path::new("spec.persistentvolumesource"),
            "spec.persistentvolumesource is immutable after creation",
        );
    }
    let path = Path::new("spec");
    immutable(errors, &Path::new("volumeMode"), new.get("volumeMode"), old.get("volumeMode"));
    let affinity = "nodeAffinity";
    if field(old, affinity).is_some() && field(new, affinity) != field(old, affinity) {
        let why = "field is immutable, except for updating from beta label to GA";
        errors.invalid(&Path::new(affinity), at(new, &[affinity]).clone(), why);
    }
    if field(old, ATTRIBUTES).is_some() && field(new, ATTRIBUTES).is_none() {
        errors.forbidden(&path.child(ATTRIBUTES), "update from non-nil value to nil is forbidden");
    }
}

/// Whether a driver's source differs in a secret for growth alone that it did not have.
fn only_expands(new: &Value, old: &Value) -> bool {
    let key = "controllerExpandSecretRef";
    let (Some(new), Some(old)) = (field(new, "csi"), field(old, "csi")) else { return false };
    let mut bare = new.clone();
    if let Some(source) = bare.as_object_mut() {
        source.remove(key);
    }
    field(old, key).is_none() && bare == *old
}

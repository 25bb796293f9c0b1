//! Persistent volumes and claims.

use serde_json::Value;

use super::get::{empty, entries, field, immutable, named, one_of, required_name, strings, text};
use super::pod;
use super::selector::label_selector;
use super::sources;
use super::storage::amount;
use crate::meta::{at, dns1123_label, dns1123_subdomain};
use crate::status::{FieldErrors, Path};
use crate::strategy::complete_sources;

const ACCESS_MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const ATTRIBUTES: &str = "volumeAttributesClassName";
const VOLUME_MODES: [&str; 2] = ["Block", "Filesystem"];

fn access_modes(spec: &Value, why: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    let path = path.child("accessModes");
    if empty(spec, "accessModes") {
        errors.required(&path, why);
    }
    let modes: Vec<&str> = strings(spec, "accessModes").collect();
    for mode in &modes {
        one_of(errors, &path, mode, &ACCESS_MODES, false);
    }
    if modes.contains(&"ReadWriteOncePod") && modes.len() > 1 {
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
    match entries(spec, "capacity").find(|(name, _)| *name == "storage") {
        None => errors.unsupported(&path.child("capacity"), at(spec, &["capacity"]).clone(), &["storage"]),
        Some(_) if entries(spec, "capacity").count() > 1 => {
            errors.unsupported(&path.child("capacity"), at(spec, &["capacity"]).clone(), &["storage"]);
        }
        Some((_, value)) if amount(value).is_none_or(|a| a.sign() <= 0) => {
            errors.invalid(&path.child("capacity").key("storage"), value.clone(), "must be greater than zero");
        }
        Some(_) => {}
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
    sources(spec, &path, errors);
    attributes(spec, &path, errors);
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
    sources(spec, path, errors);
    if !matches!(text(spec, "volumeMode"), "" | "Filesystem") {
        let why = "may not specify volumeMode other than Filesystem in the context of inline volumes";
        errors.forbidden(&path.child("volumeMode"), why);
    }
    attributes(spec, path, errors);
}

const PV_SOURCES: [&str; 22] = [
    "awsElasticBlockStore",
    "azureDisk",
    "azureFile",
    "cephfs",
    "cinder",
    "csi",
    "fc",
    "flexVolume",
    "flocker",
    "gcePersistentDisk",
    "glusterfs",
    "hostPath",
    "iscsi",
    "local",
    "nfs",
    "photonPersistentDisk",
    "portworxVolume",
    "quobyte",
    "rbd",
    "scaleIO",
    "storageos",
    "vsphereVolume",
];

const CSI_SECRETS: [&str; 4] =
    ["controllerPublishSecretRef", "controllerExpandSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef"];

fn sources(spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let mut found = 0;
    for kind in PV_SOURCES {
        let Some(source) = field(spec, kind) else { continue };
        found += 1;
        let here = path.child(kind);
        if found > 1 {
            errors.forbidden(&here, "may not specify more than 1 volume type");
            continue;
        }
        sources::fields(kind, source, &here, errors);
        if kind == "iscsi" && field(source, "secretRef").is_some_and(|secret| text(secret, "name").is_empty()) {
            errors.required(&here.child("secretRef").child("name"), "");
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
        let root = kind == "hostPath" && text(source, "path") == "/";
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

/// PersistentVolumeClaim.
pub(super) fn claim(object: &Value, errors: &mut FieldErrors) {
    claim_spec(at(object, &["spec"]), &Path::new("spec"), errors);
}

/// The spec of a claim, also inside an ephemeral volume.
pub(super) fn claim_spec(spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    access_modes(spec, "at least 1 access mode is required", path, errors);
    if let Some(selector) = field(spec, "selector") {
        label_selector(selector, &path.child("selector"), errors);
    }
    let here = path.child("resources");
    match field(at(spec, &["resources", "requests"]), "storage") {
        None => errors.required(&here.key("storage"), ""),
        Some(value) if amount(value).is_none_or(|a| a.sign() <= 0) => {
            errors.invalid(&here.key("storage"), value.clone(), "must be greater than zero");
        }
        Some(_) => {}
    }
    let class = text(spec, "storageClassName");
    if !class.is_empty() {
        named(errors, &path.child("storageClassName"), class, dns1123_subdomain(class));
    }
    one_of(errors, &path.child("volumeMode"), text(spec, "volumeMode"), &VOLUME_MODES, false);
    for key in ["dataSource", "dataSourceRef"] {
        if let Some(source) = field(spec, key) {
            let path = path.child(key);
            for part in ["name", "kind"] {
                if text(source, part).is_empty() {
                    errors.required(&path.child(part), "");
                }
            }
            if text(source, "apiGroup").is_empty() && text(source, "kind") != "PersistentVolumeClaim" {
                errors.invalid(
                    &path,
                    text(source, "kind"),
                    "must be 'PersistentVolumeClaim' when referencing the default apiGroup",
                );
            }
            let group = text(source, "apiGroup");
            if !group.is_empty() {
                named(errors, &path.child("apiGroup"), group, dns1123_subdomain(group));
            }
            let namespace = text(source, "namespace");
            if !namespace.is_empty() {
                named(errors, &path.child("namespace"), namespace, dns1123_label(namespace));
            }
        }
    }
    let attributes = text(spec, ATTRIBUTES);
    if !attributes.is_empty() {
        named(errors, &path.child(ATTRIBUTES), attributes, dns1123_subdomain(attributes));
    }
}

/// Of a claim only the request may grow, and the volume be bound.
pub(super) fn claim_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    // A claim of an older server may have one of the two data sources only.
    let mut completed = old.clone();
    complete_sources(&mut completed, Some(old));
    let old = &completed;
    let (phase, new_spec, old_spec) = (text(at(old, &["status"]), "phase"), at(new, &["spec"]), at(old, &["spec"]));
    let mut expected = old_spec.clone();
    if let Some(spec) = expected.as_object_mut() {
        let classed = phase == "Bound" && field(new_spec, ATTRIBUTES).is_some();
        for (key, free) in [("volumeName", text(old_spec, "volumeName").is_empty()), (ATTRIBUTES, classed)] {
            if free {
                match field(new_spec, key) {
                    Some(value) => drop(spec.insert(key.to_owned(), value.clone())),
                    None => drop(spec.remove(key)),
                }
            }
        }
        // A class may be given to a claim that never had one.
        if field(old_spec, "storageClassName").is_none()
            && let Some(class) = field(new_spec, "storageClassName")
        {
            spec.insert("storageClassName".into(), class.clone());
        }
    }
    let storage = |spec: &Value| field(at(spec, &["resources", "requests"]), "storage").and_then(amount);
    if phase == "Bound"
        && let (Some(value), Some(slot)) =
            (new_spec.pointer("/resources/requests/storage"), expected.pointer_mut("/resources/requests/storage"))
    {
        *slot = value.clone();
    }
    let path = Path::new("spec");
    if expected != *new_spec {
        errors.forbidden(
            &path,
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims",
        );
    }
    // A failed growth may be asked for anew, smaller, but never below what the volume has (KEP-1790).
    let has = field(at(old, &["status", "capacity"]), "storage").and_then(amount);
    let shrunk = storage(new_spec)
        .zip(storage(old_spec))
        .is_some_and(|(new, old)| new < old && has.is_some_and(|has| new <= has));
    if shrunk {
        let path = path.child("resources");
        errors.forbidden(&path.child("requests").key("storage"), "field can not be less than status.capacity");
    }
    immutable(errors, &Path::new("volumeMode"), field(new_spec, "volumeMode"), field(old_spec, "volumeMode"));
    if field(old_spec, ATTRIBUTES).is_some() {
        let path = path.child(ATTRIBUTES);
        match field(new_spec, ATTRIBUTES).and_then(Value::as_str) {
            None => errors.forbidden(&path, "update from non-nil value to nil is forbidden"),
            Some("") => errors.forbidden(&path, "update from non-nil value to an empty string is forbidden"),
            Some(_) => {}
        }
    }
}

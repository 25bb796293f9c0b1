//! Persistent volumes and claims.

use serde_json::Value;

use super::get::{empty, entries, field, immutable, named, one_of, strings, text};
use super::pod;
use super::selector::label_selector;
use super::sources;
use super::storage::amount;
use crate::meta::{at, dns1123_subdomain};
use crate::status::{FieldErrors, Path};

const ACCESS_MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const VOLUME_MODES: [&str; 2] = ["Block", "Filesystem"];

fn access_modes(spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let path = path.child("accessModes");
    if empty(spec, "accessModes") {
        errors.required(&path, "");
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
    access_modes(spec, &path, errors);
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
    if PV_SOURCES.iter().any(|kind| field(new, kind) != field(old, kind)) {
        errors.forbidden(
            &Path::new("spec.persistentvolumesource"),
            "spec.persistentvolumesource is immutable after creation",
        );
    }
    let path = Path::new("spec");
    immutable(errors, &Path::new("volumeMode"), new.get("volumeMode"), old.get("volumeMode"));
    if field(old, "nodeAffinity").is_some() {
        immutable(errors, &path.child("nodeAffinity"), field(new, "nodeAffinity"), field(old, "nodeAffinity"));
    }
}

/// PersistentVolumeClaim.
pub(super) fn claim(object: &Value, errors: &mut FieldErrors) {
    claim_spec(at(object, &["spec"]), &Path::new("spec"), errors);
}

/// The spec of a claim, also inside an ephemeral volume.
pub(super) fn claim_spec(spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    access_modes(spec, path, errors);
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
        }
    }
}

/// Of a claim only the request may grow, and the volume be bound.
pub(super) fn claim_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let (phase, new_spec, old_spec) = (text(at(old, &["status"]), "phase"), at(new, &["spec"]), at(old, &["spec"]));
    let mut expected = old_spec.clone();
    if let Some(spec) = expected.as_object_mut() {
        for (key, free) in
            [("volumeName", text(old_spec, "volumeName").is_empty()), ("volumeAttributesClassName", true)]
        {
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
        .is_some_and(|(new, old)| new < old && has.is_none_or(|has| new <= has));
    if shrunk {
        let path = path.child("resources");
        errors.forbidden(&path.child("requests").key("storage"), "field can not be less than status.capacity");
    }
}

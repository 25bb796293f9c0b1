//! Volumes, claims, classes, drivers and attachments.

use serde_json::Value;

use super::get::{empty, entries, field, immutable, list, named, one_of, required_name, strings, text};
use super::pod;
use super::selector::label_selector;
use crate::meta::{Quantity, at, dns1123_subdomain};
use crate::status::{FieldErrors, Path};

const ACCESS_MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const VOLUME_MODES: [&str; 2] = ["Block", "Filesystem"];

fn amount(value: &Value) -> Option<Quantity> {
    value.as_str().and_then(|t| t.parse().ok())
}

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
        let needs: &[&str] = match kind {
            "hostPath" => &["path"],
            "local" => &["path"],
            "nfs" => &["server", "path"],
            "csi" => &["driver", "volumeHandle"],
            "iscsi" => &["targetPortal", "iqn"],
            _ => &[],
        };
        for key in needs {
            if text(source, key).is_empty() {
                errors.required(&here.child(key), "");
            }
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
    let shrunk = storage(new_spec).zip(storage(old_spec)).is_some_and(|(new, old)| new < old);
    if shrunk {
        let path = path.child("resources");
        errors.forbidden(&path.child("requests").key("storage"), "field can not be less than status.capacity");
    }
}

/// StorageClass.
pub(super) fn class(object: &Value, errors: &mut FieldErrors) {
    required_name(errors, &Path::new("provisioner"), text(object, "provisioner"), |name| {
        crate::meta::qualified_name(&name.to_lowercase())
    });
    one_of(errors, &Path::new("reclaimPolicy"), text(object, "reclaimPolicy"), &["Delete", "Retain"], false);
    let mode = text(object, "volumeBindingMode");
    one_of(errors, &Path::new("volumeBindingMode"), mode, &["Immediate", "WaitForFirstConsumer"], true);
    let parameters = Path::new("parameters");
    if entries(object, "parameters").any(|(key, _)| key.is_empty()) {
        errors.invalid(&parameters, "", "field can not be empty.");
    }
}

/// A StorageClass changes in nothing that volumes were made by.
pub(super) fn class_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    if field(new, "parameters") != field(old, "parameters") {
        errors.forbidden(&Path::new("parameters"), "updates to parameters are forbidden.");
    }
    if text(new, "provisioner") != text(old, "provisioner") {
        errors.forbidden(&Path::new("provisioner"), "updates to provisioner are forbidden.");
    }
    if text(new, "reclaimPolicy") != text(old, "reclaimPolicy") {
        errors.forbidden(&Path::new("reclaimPolicy"), "updates to reclaimPolicy are forbidden.");
    }
    immutable(errors, &Path::new("volumeBindingMode"), new.get("volumeBindingMode"), old.get("volumeBindingMode"));
}

/// CSIDriver.
pub(super) fn driver(object: &Value, errors: &mut FieldErrors) {
    let name = text(at(object, &["metadata"]), "name");
    let metadata = Path::new("metadata");
    if name.len() > 63 {
        errors.too_long(&metadata.child("name"), 63);
    }
    let spec = at(object, &["spec"]);
    let path = Path::new("spec");
    let policy = text(spec, "fsGroupPolicy");
    one_of(errors, &path.child("fsGroupPolicy"), policy, &["File", "None", "ReadWriteOnceWithFSType"], true);
    for mode in strings(spec, "volumeLifecycleModes") {
        one_of(errors, &path.child("volumeLifecycleModes"), mode, &["Ephemeral", "Persistent"], true);
    }
    for key in ["attachRequired", "podInfoOnMount"] {
        if field(spec, key).is_none() {
            errors.required(&path.child(key), "");
        }
    }
}

/// How a driver attaches is for ever.
pub(super) fn driver_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let (new, old) = (at(new, &["spec"]), at(old, &["spec"]));
    let path = Path::new("spec");
    for (key, shown) in [("attachRequired", "attachedRequired"), ("volumeLifecycleModes", "volumeLifecycleModes")] {
        immutable(errors, &path.child(shown), field(new, key), field(old, key));
    }
}

/// CSINode.
pub(super) fn csi_node(object: &Value, errors: &mut FieldErrors) {
    let spec = Path::new("spec");
    let drivers = spec.child("drivers");
    let mut names: Vec<&str> = Vec::new();
    for (index, driver) in list(at(object, &["spec"]), "drivers").iter().enumerate() {
        let path = drivers.index(index);
        let name = text(driver, "name");
        required_name(errors, &path.child("name"), name, |n| dns1123_subdomain(&n.to_lowercase()));
        if names.contains(&name) {
            errors.duplicate(&path.child("name"), name);
        }
        names.push(name);
        if text(driver, "nodeID").is_empty() {
            errors.required(&path.child("nodeID"), "");
        }
    }
}

/// CSIStorageCapacity.
pub(super) fn capacity(object: &Value, errors: &mut FieldErrors) {
    required_name(errors, &Path::new("storageClassName"), text(object, "storageClassName"), dns1123_subdomain);
    for key in ["capacity", "maximumVolumeSize"] {
        if amount(at(object, &[key])).is_some_and(|a| a.sign() < 0) {
            errors.invalid(&Path::new(key), at(object, &[key]).clone(), "must be greater than or equal to 0");
        }
    }
    if let Some(topology) = field(object, "nodeTopology") {
        label_selector(topology, &Path::new("nodeTopology"), errors);
    }
}

/// What a capacity is about is for ever.
pub(super) fn capacity_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    for key in ["nodeTopology", "storageClassName"] {
        immutable(errors, &Path::new(key), field(new, key), field(old, key));
    }
}

/// VolumeAttachment.
pub(super) fn attachment(object: &Value, errors: &mut FieldErrors) {
    let spec = at(object, &["spec"]);
    let path = Path::new("spec");
    required_name(errors, &path.child("attacher"), text(spec, "attacher"), |n| dns1123_subdomain(&n.to_lowercase()));
    required_name(errors, &path.child("nodeName"), text(spec, "nodeName"), dns1123_subdomain);
    let source = at(spec, &["source"]);
    match (field(source, "persistentVolumeName"), field(source, "inlineVolumeSpec")) {
        (None, None) => errors
            .required(&path.child("source"), "must specify exactly one of inlineVolumeSpec and persistentVolumeName"),
        (Some(_), Some(_)) => errors
            .forbidden(&path.child("source"), "must specify exactly one of inlineVolumeSpec and persistentVolumeName"),
        _ => {}
    }
}

/// What is attached where is for ever.
pub(super) fn attachment_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    if field(new, "spec") != field(old, "spec") {
        errors.invalid(&Path::new("spec"), at(new, &["spec"]).clone(), "field is immutable");
    }
}

/// VolumeAttributesClass.
pub(super) fn attributes_class(object: &Value, errors: &mut FieldErrors) {
    required_name(errors, &Path::new("driverName"), text(object, "driverName"), |n| {
        dns1123_subdomain(&n.to_lowercase())
    });
    if empty(object, "parameters") {
        errors.required(&Path::new("parameters"), "must contain at least one key/value pair");
    }
}

/// A VolumeAttributesClass is for ever.
pub(super) fn attributes_class_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    for (key, why) in
        [("driverName", "updates to driverName are forbidden."), ("parameters", "updates to parameters are forbidden.")]
    {
        if field(new, key) != field(old, key) {
            errors.forbidden(&Path::new(key), why);
        }
    }
}

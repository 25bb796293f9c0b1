//! Storage classes, drivers, capacities and attachments.

use serde_json::Value;

use super::get::{empty, entries, field, immutable, int, list, one_of, required_name, strings, text, token_life};
use super::selector::label_selector;
use crate::meta::{Quantity, at, dns1123_subdomain};
use crate::status::{FieldErrors, Path};

/// Shortest time between two readings of a node's limits, in seconds.
const MIN_UPDATE_PERIOD: i64 = 10;

/// The amount in a field.
pub(super) fn amount(value: &Value) -> Option<Quantity> {
    value.as_str().and_then(|t| t.parse().ok())
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
    topologies(object, &Path::new("allowedTopologies"), errors);
}

/// Where volumes of a class may be: terms of labels with their values.
fn topologies(class: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    for (index, term) in list(class, "allowedTopologies").iter().enumerate() {
        let path = path.index(index);
        let path = path.child("matchLabelExpressions");
        let mut keys: Vec<&str> = Vec::new();
        for (index, expression) in list(term, "matchLabelExpressions").iter().enumerate() {
            let path = path.index(index);
            let key = text(expression, "key");
            let values: Vec<&str> = strings(expression, "values").collect();
            if values.is_empty() {
                errors.required(&path.child("values"), "");
            }
            for (at, value) in values.iter().enumerate() {
                if values.iter().take(at).any(|other| other == value) {
                    errors.duplicate(&path.child("values").index(at), *value);
                }
            }
            super::get::named(errors, &path.child("key"), key, crate::meta::qualified_name(key));
            if keys.contains(&key) {
                errors.duplicate(&path.child("key"), key);
            }
            keys.push(key);
        }
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
    tokens(spec, &path.child("tokenRequests"), errors);
    if let Some(seconds) = int(spec, "nodeAllocatableUpdatePeriodSeconds").filter(|s| *s < MIN_UPDATE_PERIOD) {
        let why = format!("must be greater than or equal to {MIN_UPDATE_PERIOD} seconds");
        errors.invalid(&path.child("nodeAllocatableUpdatePeriodSeconds"), seconds, why);
    }
}

/// Tokens that a driver gets for each pod: one of each audience, for ten minutes at least.
fn tokens(spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let mut audiences: Vec<&str> = Vec::new();
    for (index, request) in list(spec, "tokenRequests").iter().enumerate() {
        let path = path.index(index);
        let audience = text(request, "audience");
        if audiences.contains(&audience) {
            errors.duplicate(&path.child("audience"), audience);
        }
        audiences.push(audience);
        if let Some(seconds) = int(request, "expirationSeconds") {
            token_life(errors, &path.child("expirationSeconds"), seconds);
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

//! Storage classes, drivers, capacities and attachments.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::get::{
    empty, entries, field, immutable, int, list, named, non_negative, one_of, strings, text, token_life, word_of,
};
use super::selector::label_selector;
use super::volume;
use crate::meta::{Quantity, at, dns1123_subdomain, qualified_name};
use crate::status::{FieldErrors, Path};

/// Most parameters of a class.
const MAX_PARAMETERS: usize = 512;
/// Total size of the parameters of a class, or of what an attachment remembers, in bytes.
const MAX_SIZE: usize = 256 * 1024;
/// Longest name of a driver.
const DRIVER_NAME_MAX: usize = 63;
/// Longest id of a node.
const NODE_ID_MAX: usize = 256;
/// Longest message of a failed attachment, in bytes.
const MESSAGE_MAX: usize = 1024;

/// Shortest time between two readings of a node's limits, in seconds.
const MIN_UPDATE_PERIOD: i64 = 10;

/// The amount in a field.
pub(super) fn amount(value: &Value) -> Option<Quantity> {
    value.as_str().and_then(|t| t.parse().ok())
}

/// The name of a driver, of storage or of devices: a short domain in any case of letters.
pub(super) fn driver_name(errors: &mut FieldErrors, path: &Path<'_>, name: &str) {
    if name.is_empty() {
        errors.required(path, "");
    }
    if name.len() > DRIVER_NAME_MAX {
        errors.too_long(path, DRIVER_NAME_MAX);
    }
    named(errors, path, name, dns1123_subdomain(&name.to_lowercase()));
}

/// What makes volumes: a qualified name in any case of letters.
fn provisioner(errors: &mut FieldErrors, path: &Path<'_>, name: &str) {
    if name.is_empty() {
        return errors.required(path, "");
    }
    let lower = name.to_lowercase();
    named(errors, path, &lower, qualified_name(&lower));
}

/// Parameters that are handed to a driver: bounded in number and size.
fn parameters(object: &Value, required: bool, errors: &mut FieldErrors) {
    let path = Path::new("parameters");
    if entries(object, "parameters").count() > MAX_PARAMETERS {
        return errors.too_long(&path, MAX_PARAMETERS);
    }
    if entries(object, "parameters").any(|(key, _)| key.is_empty()) {
        errors.invalid(&path, "", "field can not be empty.");
    }
    if size(object, "parameters") > MAX_SIZE {
        errors.too_long(&path, MAX_SIZE);
    }
    if required && empty(object, "parameters") {
        errors.required(&path, "must contain at least one key/value pair");
    }
}

/// The bytes of a map of texts.
fn size(object: &Value, key: &str) -> usize {
    entries(object, key).map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum()
}

/// StorageClass.
pub(super) fn class(object: &Value, errors: &mut FieldErrors) {
    provisioner(errors, &Path::new("provisioner"), text(object, "provisioner"));
    parameters(object, false, errors);
    one_of(errors, &Path::new("reclaimPolicy"), text(object, "reclaimPolicy"), &["Delete", "Retain"], false);
    word_of(errors, &Path::ROOT, object, "volumeBindingMode", &["Immediate", "WaitForFirstConsumer"]);
    topologies(object, &Path::new("allowedTopologies"), errors);
}

/// Where volumes of a class may be: terms of labels with their values, no two alike.
fn topologies(class: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    // One that says nothing counts as said before.
    let mut before: BTreeSet<BTreeMap<&str, BTreeSet<&str>>> = BTreeSet::from([BTreeMap::new()]);
    for (index, term) in list(class, "allowedTopologies").iter().enumerate() {
        let path = path.index(index);
        let path = path.child("matchLabelExpressions");
        let mut keys: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (index, expression) in list(term, "matchLabelExpressions").iter().enumerate() {
            let path = path.index(index);
            let key = text(expression, "key");
            let mut values: BTreeSet<&str> = BTreeSet::new();
            if empty(expression, "values") {
                errors.required(&path.child("values"), "");
            }
            for (at, value) in strings(expression, "values").enumerate() {
                if !values.insert(value) {
                    errors.duplicate(&path.child("values").index(at), value);
                }
            }
            named(errors, &path.child("key"), key, qualified_name(key));
            if keys.insert(key, values).is_some() {
                errors.duplicate(&path.child("key"), key);
            }
        }
        if !before.insert(keys) {
            errors.duplicate(&path, "");
        }
    }
}

/// A StorageClass changes in nothing that volumes were made by.
pub(super) fn class_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    for key in ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"] {
        immutable(errors, &Path::new(key), new.get(key), old.get(key));
    }
}

/// CSIDriver.
pub(super) fn driver(object: &Value, errors: &mut FieldErrors) {
    driver_name(errors, &Path::new("name"), text(at(object, &["metadata"]), "name"));
    let spec = at(object, &["spec"]);
    let path = Path::new("spec");
    for (key, shown) in [
        ("attachRequired", "attachedRequired"),
        ("podInfoOnMount", "podInfoOnMount"),
        ("storageCapacity", "storageCapacity"),
    ] {
        if field(spec, key).is_none() {
            errors.required(&path.child(shown), "");
        }
    }
    word_of(errors, &path, spec, "fsGroupPolicy", &["File", "None", "ReadWriteOnceWithFSType"]);
    tokens(spec, &path.child("tokenRequests"), errors);
    for mode in strings(spec, "volumeLifecycleModes") {
        if !matches!(mode, "Persistent" | "Ephemeral") {
            errors.unsupported_as_listed(&path.child("volumeLifecycleModes"), mode, &["Persistent", "Ephemeral"]);
        }
    }
    if field(spec, "seLinuxMount").is_none() {
        errors.required(&path.child("seLinuxMount"), "");
    }
    if let Some(seconds) = int(spec, "nodeAllocatableUpdatePeriodSeconds").filter(|s| *s < MIN_UPDATE_PERIOD) {
        let why = format!("must be greater than or equal to {MIN_UPDATE_PERIOD} seconds");
        errors.invalid(&path.child("nodeAllocatableUpdatePeriodSeconds"), seconds, why);
    }
}

/// Tokens that a driver gets for each pod: one of each audience, for ten minutes at least.
fn tokens(spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let mut audiences: BTreeSet<&str> = BTreeSet::new();
    for (index, request) in list(spec, "tokenRequests").iter().enumerate() {
        let path = path.index(index);
        let audience = text(request, "audience");
        if !audiences.insert(audience) {
            errors.duplicate(&path.child("audience"), audience);
            continue;
        }
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
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for (index, driver) in list(at(object, &["spec"]), "drivers").iter().enumerate() {
        let path = drivers.index(index);
        let name = text(driver, "name");
        driver_name(errors, &path.child("name"), name);
        let id = text(driver, "nodeID");
        if id.is_empty() {
            errors.required(&path.child("nodeID"), "");
        }
        if id.len() > NODE_ID_MAX {
            errors.invalid(&path.child("nodeID"), id, format!("must be {NODE_ID_MAX} characters or less"));
        }
        non_negative(errors, &path.child("allocatable").child("count"), int(at(driver, &["allocatable"]), "count"));
        if !names.insert(name) {
            errors.duplicate(&path.child("name"), name);
        }
        topology_keys(driver, &path, errors);
    }
}

/// The labels by which a driver knows places; upstream tells of them at the driver.
fn topology_keys(driver: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for key in strings(driver, "topologyKeys") {
        if key.is_empty() {
            errors.required(path, "");
        }
        if !seen.insert(key) {
            errors.duplicate(path, key);
        }
        named(errors, path, key, qualified_name(key));
    }
}

/// A driver on a node stays what it is, but for how many volumes it takes.
pub(super) fn csi_node_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let fixed = |driver: &Value| {
        let mut driver = driver.clone();
        if let Some(driver) = driver.as_object_mut() {
            driver.remove("allocatable");
        }
        driver
    };
    let drivers = |node| list(at(node, &["spec"]), "drivers");
    let spec = Path::new("spec");
    let mut after: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for driver in drivers(new) {
        after.entry(text(driver, "name")).or_default().push(fixed(driver));
    }
    for before in drivers(old) {
        for after in after.get(text(before, "name")).into_iter().flatten() {
            immutable(errors, &spec.child("drivers"), Some(after), Some(&fixed(before)));
        }
    }
}

/// CSIStorageCapacity.
pub(super) fn capacity(object: &Value, errors: &mut FieldErrors) {
    if let Some(topology) = field(object, "nodeTopology") {
        label_selector(topology, &Path::new("nodeTopology"), errors);
    }
    let class = text(object, "storageClassName");
    named(errors, &Path::new("storageClassName"), class, dns1123_subdomain(class));
    let capacity = at(object, &["capacity"]);
    if amount(capacity).is_some_and(|a| a.sign() < 0) {
        errors.invalid(&Path::new("capacity"), capacity.clone(), "must be greater than or equal to 0");
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
    source(at(spec, &["source"]), &path.child("source"), errors);
    let node = text(spec, "nodeName");
    named(errors, &path.child("nodeName"), node, dns1123_subdomain(node));
    attachment_status(object, errors);
}

/// A new VolumeAttachment names its driver and its volume well.
pub(super) fn attachment_create(object: &Value, errors: &mut FieldErrors) {
    let spec = at(object, &["spec"]);
    let path = Path::new("spec");
    driver_name(errors, &path.child("attacher"), text(spec, "attacher"));
    if let Some(volume) = field(at(spec, &["source"]), "persistentVolumeName").and_then(Value::as_str) {
        let path = path.child("source");
        named(errors, &path.child("persistentVolumeName"), volume, dns1123_subdomain(volume));
    }
}

/// The volume that is attached: one by name, or one that is described here.
fn source(source: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let why = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    match (field(source, "persistentVolumeName").and_then(Value::as_str), field(source, "inlineVolumeSpec")) {
        (None, None) => errors.required(path, why),
        (Some(_), Some(_)) => errors.forbidden(path, why),
        (Some(""), None) => {
            errors.required(&path.child("persistentVolumeName"), "must specify non empty persistentVolumeName");
        }
        (Some(_), None) => {}
        (None, Some(described)) => volume::inline(described, &path.child("inlineVolumeSpec"), errors),
    }
}

/// What a driver may say of an attachment.
pub(super) fn attachment_status(object: &Value, errors: &mut FieldErrors) {
    let status = at(object, &["status"]);
    let path = Path::new("status");
    if size(status, "attachmentMetadata") > MAX_SIZE {
        errors.too_long(&path.child("attachmentMetadata"), MAX_SIZE);
    }
    for key in ["attachError", "detachError"] {
        let Some(error) = field(status, key) else { continue };
        let path = path.child(key);
        if text(error, "message").len() > MESSAGE_MAX {
            // The bound that upstream tells is another one.
            errors.too_long(&path.child("message"), MAX_SIZE);
        }
        if let Some(code) = int(error, "errorCode").filter(|code| *code < 0) {
            errors.invalid(&path.child("errorCode"), code, "must be between 0 and 2147483647, inclusive");
        }
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
    provisioner(errors, &Path::new("driverName"), text(object, "driverName"));
    parameters(object, true, errors);
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

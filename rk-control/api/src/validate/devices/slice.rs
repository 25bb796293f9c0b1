//! What drivers offer.

use serde_json::Value;

use super::super::get::{entries, field, immutable, int, list, named, required_name, text};
use super::super::pod;
use super::super::storage::driver_name;
use super::{MAX, bounded, device, name, unique};
use crate::meta::{at, dns1123_label, dns1123_subdomain};
use crate::status::{FieldErrors, Path};

/// Most devices of a slice.
const MAX_DEVICES: usize = 128;
/// Most devices of a slice some of which have taints or share counters.
const MAX_SPECIAL_DEVICES: usize = 64;
/// Most sets of counters of a slice.
const MAX_COUNTER_SETS: usize = 8;

/// ResourceSlice.
pub(in super::super) fn slice(object: &Value, errors: &mut FieldErrors) {
    let spec = at(object, &["spec"]);
    let path = Path::new("spec");
    driver_name(errors, &path.child("driver"), text(spec, "driver"));
    pool(at(spec, &["pool"]), &path.child("pool"), errors);
    nodes(spec, &path, errors);
    if field(spec, "sharedCounters").is_some() && field(spec, "devices").is_some() {
        errors.invalid(&path, "", "only one of `sharedCounters` or `devices` is allowed");
    }
    let special = |device: &Value| !list(device, "taints").is_empty() || !list(device, "consumesCounters").is_empty();
    let most = if list(spec, "devices").iter().any(special) { MAX_SPECIAL_DEVICES } else { MAX_DEVICES };
    let devices = bounded(spec, "devices", most, &path, errors);
    let apart = field(spec, "perDeviceNodeSelection") == Some(&Value::Bool(true));
    let all = path.child("devices");
    for (index, device) in devices.iter().enumerate() {
        device::device(device, apart, &all.index(index), errors);
    }
    unique(devices.iter().map(|device| text(device, "name")), &all, errors);
    let sets = bounded(spec, "sharedCounters", MAX_COUNTER_SETS, &path, errors);
    let all = path.child("sharedCounters");
    for (index, set) in sets.iter().enumerate() {
        counters(set, "name", &all.index(index), errors);
    }
    unique(sets.iter().map(|set| text(set, "name")), &all, errors);
}

fn pool(pool: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    name::pool(text(pool, "name"), &path.child("name"), errors);
    let count = int(pool, "resourceSliceCount").unwrap_or(0);
    if count <= 0 {
        errors.invalid(&path.child("resourceSliceCount"), count, "must be greater than zero");
    }
    if let Some(generation) = int(pool, "generation").filter(|generation| *generation < 0) {
        errors.invalid(&path.child("generation"), generation, "must be greater than or equal to zero");
    }
}

/// From where the devices can be reached: said in one way.
fn nodes(spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let mut said: Vec<&str> = Vec::new();
    match field(spec, "nodeName").and_then(Value::as_str) {
        None => {}
        Some("") => errors.invalid(&path.child("nodeName"), "", "must be either unset or set to a non-empty string"),
        Some(node) => {
            said.push("`nodeName`");
            named(errors, &path.child("nodeName"), node, dns1123_subdomain(node));
        }
    }
    if let Some(selector) = field(spec, "nodeSelector") {
        said.push("`nodeSelector`");
        let path = path.child("nodeSelector");
        pod::node_selector(selector, &path, errors);
        let terms = list(selector, "nodeSelectorTerms");
        if terms.len() != 1 {
            let why = "must have exactly one node selector term";
            errors.invalid(&path.child("nodeSelectorTerms"), terms.to_vec(), why);
        }
    }
    for (key, shown) in [("allNodes", "`allNodes`"), ("perDeviceNodeSelection", "`perDeviceNodeSelection`")] {
        match field(spec, key).and_then(Value::as_bool) {
            None => {}
            Some(true) => said.push(shown),
            Some(false) => errors.invalid(&path.child(key), false, "must be either unset or set to true"),
        }
    }
    let why = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    match said.len() {
        0 => errors.required(path, why),
        1 => {}
        _ => {
            errors.invalid(path, format!("{{{}}}", said.join(", ")), format!("{why}, but multiple fields are set"));
        }
    }
}

/// A set of counters, or what a device takes of one; `key` is the field with the name of the set.
pub(super) fn counters(set: &Value, key: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    required_name(errors, &path.child(key), text(set, key), dns1123_label);
    let path = path.child("counters");
    let count = entries(set, "counters").count();
    if count == 0 {
        errors.required(&path, "");
    } else if count > MAX {
        errors.too_many(&path, count, MAX);
    } else {
        for (name, _) in entries(set, "counters") {
            named(errors, &path, name, dns1123_label(name));
        }
    }
}

/// Whose devices a slice lists is for ever.
pub(in super::super) fn slice_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let (new, old) = (at(new, &["spec"]), at(old, &["spec"]));
    let path = Path::new("spec");
    let name = |spec: &Value| at(spec, &["pool"]).get("name").cloned();
    immutable(errors, &path.child("pool").child("name"), name(new).as_ref(), name(old).as_ref());
    for key in ["driver", "nodeName"] {
        immutable(errors, &path.child(key), field(new, key), field(old, key));
    }
}

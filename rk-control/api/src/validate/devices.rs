//! Dynamic resource allocation. Expressions are checked by those who compile them.

use serde_json::Value;

use super::get::{empty, field, immutable, int, list, named, one_of, required_name, strings, text};
use super::pod;
use crate::meta::{at, dns1123_label, dns1123_subdomain};
use crate::status::{FieldErrors, Path};

/// Most requests, constraints or configurations of a claim.
const MAX: usize = 32;
/// Most devices of a slice.
const MAX_DEVICES: usize = 128;

/// ResourceClaim.
pub(super) fn claim(object: &Value, errors: &mut FieldErrors) {
    claim_spec(at(object, &["spec"]), &Path::new("spec"), errors);
}

/// The spec of a claim is for ever.
pub(super) fn claim_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    immutable(errors, &Path::new("spec"), field(new, "spec"), field(old, "spec"));
}

/// ResourceClaimTemplate.
pub(super) fn claim_template(object: &Value, errors: &mut FieldErrors) {
    let path = Path::new("spec");
    claim_spec(at(object, &["spec", "spec"]), &path.child("spec"), errors);
}

/// A template is for ever.
pub(super) fn template_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    immutable(errors, &Path::new("spec"), field(new, "spec"), field(old, "spec"));
}

fn claim_spec(spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let devices = at(spec, &["devices"]);
    let path = path.child("devices");
    let mut names: Vec<&str> = Vec::new();
    for key in ["requests", "constraints", "config"] {
        let count = list(devices, key).len();
        if count > MAX {
            errors.too_many(&path.child(key), count, MAX);
        }
    }
    for (index, request) in list(devices, "requests").iter().enumerate() {
        let path = path.child("requests");
        let path = path.index(index);
        let name = text(request, "name");
        required_name(errors, &path.child("name"), name, dns1123_label);
        if names.contains(&name) {
            errors.duplicate(&path.child("name"), name);
        }
        names.push(name);
        match (field(request, "exactly"), empty(request, "firstAvailable")) {
            (Some(_), false) => errors.invalid(
                &path,
                Value::Null,
                "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set",
            ),
            (None, true) => errors.required(&path, "exactly one of `exactly` or `firstAvailable` is required"),
            (Some(exact), true) => device_request(exact, &path.child("exactly"), errors),
            (None, false) => {
                for (at, sub) in list(request, "firstAvailable").iter().enumerate() {
                    let path = path.child("firstAvailable");
                    let path = path.index(at);
                    required_name(errors, &path.child("name"), text(sub, "name"), dns1123_label);
                    device_request(sub, &path, errors);
                }
            }
        }
    }
    for (index, constraint) in list(devices, "constraints").iter().enumerate() {
        let path = path.child("constraints");
        let path = path.index(index);
        for (at, name) in strings(constraint, "requests").enumerate() {
            if !names.contains(&name.split('/').next().unwrap_or_default()) {
                errors.invalid(&path.child("requests").index(at), name, "must be the name of a request in the claim");
            }
        }
        if empty(constraint, "matchAttribute") && empty(constraint, "distinctAttribute") {
            errors.required(&path.child("matchAttribute"), "");
        }
    }
}

fn device_request(request: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    required_name(errors, &path.child("deviceClassName"), text(request, "deviceClassName"), dns1123_subdomain);
    let mode = text(request, "allocationMode");
    one_of(errors, &path.child("allocationMode"), mode, &["All", "ExactCount"], true);
    let count = int(request, "count").unwrap_or(0);
    if mode == "ExactCount" && count <= 0 {
        errors.invalid(&path.child("count"), count, "must be greater than zero");
    }
    if mode == "All" && count != 0 {
        errors.invalid(&path.child("count"), count, "must not be specified when allocationMode is 'All'");
    }
    selectors(request, path, errors);
}

fn selectors(holder: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    for (index, selector) in list(holder, "selectors").iter().enumerate() {
        let path = path.child("selectors");
        let path = path.index(index);
        match field(selector, "cel") {
            None => errors.required(&path.child("cel"), ""),
            Some(cel) if text(cel, "expression").is_empty() => {
                errors.required(&path.child("cel").child("expression"), "");
            }
            Some(_) => {}
        }
    }
}

/// DeviceClass.
pub(super) fn class(object: &Value, errors: &mut FieldErrors) {
    selectors(at(object, &["spec"]), &Path::new("spec"), errors);
}

/// ResourceSlice.
pub(super) fn slice(object: &Value, errors: &mut FieldErrors) {
    let spec = at(object, &["spec"]);
    let path = Path::new("spec");
    required_name(errors, &path.child("driver"), text(spec, "driver"), |n| dns1123_subdomain(&n.to_lowercase()));
    let pool = at(spec, &["pool"]);
    let here = path.child("pool");
    required_name(errors, &here.child("name"), text(pool, "name"), |name| {
        name.split('/').flat_map(dns1123_subdomain).collect()
    });
    if int(pool, "resourceSliceCount").unwrap_or(0) <= 0 {
        errors.invalid(
            &here.child("resourceSliceCount"),
            int(pool, "resourceSliceCount").unwrap_or(0),
            "must be greater than zero",
        );
    }
    if int(pool, "generation").unwrap_or(0) < 0 {
        errors.invalid(&here.child("generation"), int(pool, "generation"), "must be greater than or equal to zero");
    }
    let chosen = ["nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection"]
        .iter()
        .filter(|k| field(spec, k).is_some())
        .count();
    if chosen != 1 {
        let why = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
        errors.required(&path, why);
    }
    if let Some(selector) = field(spec, "nodeSelector") {
        pod::node_selector(selector, &path.child("nodeSelector"), errors);
    }
    let node = text(spec, "nodeName");
    if !node.is_empty() {
        named(errors, &path.child("nodeName"), node, dns1123_subdomain(node));
    }
    let devices = list(spec, "devices");
    if devices.len() > MAX_DEVICES {
        errors.too_many(&path.child("devices"), devices.len(), MAX_DEVICES);
    }
    let mut names: Vec<&str> = Vec::new();
    for (index, device) in devices.iter().enumerate() {
        let path = path.child("devices");
        let path = path.index(index);
        let name = text(device, "name");
        required_name(errors, &path.child("name"), name, dns1123_label);
        if names.contains(&name) {
            errors.duplicate(&path.child("name"), name);
        }
        names.push(name);
    }
}

/// Whose devices a slice lists is for ever.
pub(super) fn slice_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let (new, old) = (at(new, &["spec"]), at(old, &["spec"]));
    let path = Path::new("spec");
    for key in ["driver", "nodeName"] {
        immutable(errors, &path.child(key), field(new, key), field(old, key));
    }
    let name = |spec: &Value| at(spec, &["pool"]).get("name").cloned();
    immutable(errors, &path.child("pool").child("name"), name(new).as_ref(), name(old).as_ref());
}

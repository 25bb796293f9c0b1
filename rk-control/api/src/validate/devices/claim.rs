//! Claims, templates of claims, and classes of devices.

use serde_json::Value;

use super::super::get::{empty, field, immutable, int, named, required_name, text};
use super::super::metadata;
use super::super::storage::driver_name;
use super::name::{Requests, fully_qualified};
use super::{MAX, bounded, tolerations, unique};
use crate::meta::{at, dns1123_label, dns1123_subdomain, is_extended_resource};
use crate::status::{FieldErrors, Path};

/// Most alternatives of a request.
const MAX_ALTERNATIVES: usize = 8;
/// Largest parameters of a driver, in bytes.
const PARAMETERS_MAX: usize = 10 * 1024;

/// ResourceClaim.
pub(in super::super) fn claim(object: &Value, errors: &mut FieldErrors) {
    claim_spec(at(object, &["spec"]), &Path::new("spec"), errors);
}

/// The spec of a claim is for ever.
pub(in super::super) fn claim_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    immutable(errors, &Path::new("spec"), field(new, "spec"), field(old, "spec"));
}

/// ResourceClaimTemplate.
pub(in super::super) fn claim_template(object: &Value, errors: &mut FieldErrors) {
    let path = Path::new("spec");
    let spec = at(object, &["spec"]);
    metadata::template(at(spec, &["metadata"]), &path.child("metadata"), errors);
    claim_spec(at(spec, &["spec"]), &path.child("spec"), errors);
}

/// A template is for ever.
pub(in super::super) fn template_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    immutable(errors, &Path::new("spec"), field(new, "spec"), field(old, "spec"));
}

/// DeviceClass.
pub(in super::super) fn class(object: &Value, errors: &mut FieldErrors) {
    let spec = at(object, &["spec"]);
    let path = Path::new("spec");
    selectors(spec, &path, errors);
    for (index, config) in bounded(spec, "config", MAX, &path, errors).iter().enumerate() {
        configuration(config, &path.child("config").index(index), errors);
    }
    let name = field(spec, "extendedResourceName").and_then(Value::as_str);
    if let Some(name) = name.filter(|name| !is_extended_resource(name)) {
        errors.invalid(&path.child("extendedResourceName"), name, "must be a valid extended resource name");
    }
}

fn claim_spec(spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let devices = at(spec, &["devices"]);
    let path = path.child("devices");
    let names = Requests::of(devices);
    let requests = bounded(devices, "requests", MAX, &path, errors);
    let all = path.child("requests");
    for (index, request) in requests.iter().enumerate() {
        self::request(request, &all.index(index), errors);
    }
    unique(requests.iter().map(|request| text(request, "name")), &all, errors);
    for (index, constraint) in bounded(devices, "constraints", MAX, &path, errors).iter().enumerate() {
        self::constraint(constraint, &names, &path.child("constraints").index(index), errors);
    }
    for (index, config) in bounded(devices, "config", MAX, &path, errors).iter().enumerate() {
        let path = path.child("config");
        let path = path.index(index);
        names.references(config, &path, errors);
        configuration(config, &path, errors);
    }
}

fn request(request: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let name = text(request, "name");
    named(errors, &path.child("name"), name, dns1123_label(name));
    match (field(request, "exactly"), empty(request, "firstAvailable")) {
        (Some(_), false) => errors.invalid(
            path,
            Value::Null,
            "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set",
        ),
        (None, true) => errors.required(path, "exactly one of `exactly` or `firstAvailable` is required"),
        (Some(exact), true) => device_request(exact, &path.child("exactly"), errors),
        (None, false) => {
            let subs = bounded(request, "firstAvailable", MAX_ALTERNATIVES, path, errors);
            let all = path.child("firstAvailable");
            for (index, sub) in subs.iter().enumerate() {
                let path = all.index(index);
                let name = text(sub, "name");
                named(errors, &path.child("name"), name, dns1123_label(name));
                device_request(sub, &path, errors);
            }
            unique(subs.iter().map(|sub| text(sub, "name")), &all, errors);
        }
    }
}

fn device_request(request: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    required_name(errors, &path.child("deviceClassName"), text(request, "deviceClassName"), dns1123_subdomain);
    selectors(request, path, errors);
    let count = int(request, "count").unwrap_or(0);
    match text(request, "allocationMode") {
        "All" if count == 0 => {}
        "All" => errors.invalid(&path.child("count"), count, "must not be specified when allocationMode is 'All'"),
        "ExactCount" if count > 0 => {}
        "ExactCount" => errors.invalid(&path.child("count"), count, "must be greater than zero"),
        other => errors.unsupported(&path.child("allocationMode"), other, &["All", "ExactCount"]),
    }
    tolerations(request, path, errors);
}

fn selectors(holder: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    for (index, selector) in bounded(holder, "selectors", MAX, path, errors).iter().enumerate() {
        if field(selector, "cel").is_none() {
            let path = path.child("selectors");
            errors.required(&path.index(index).child("cel"), "");
        }
    }
}

fn constraint(constraint: &Value, names: &Requests<'_>, path: &Path<'_>, errors: &mut FieldErrors) {
    names.references(constraint, path, errors);
    for key in ["matchAttribute", "distinctAttribute"] {
        if let Some(attribute) = field(constraint, key).and_then(Value::as_str) {
            return fully_qualified(attribute, &path.child(key), errors);
        }
    }
    let why = "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set";
    errors.required(path, why);
}

/// The parameters that a driver gets.
pub(super) fn configuration(config: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let path = path.child("opaque");
    let Some(opaque) = field(config, "opaque") else { return errors.required(&path, "") };
    driver_name(errors, &path.child("driver"), text(opaque, "driver"));
    raw(at(opaque, &["parameters"]), &path.child("parameters"), PARAMETERS_MAX, errors);
}

/// An object that only a driver understands.
pub(super) fn raw(value: &Value, path: &Path<'_>, max: usize, errors: &mut FieldErrors) {
    if value.is_null() {
        errors.required(path, "");
    } else if value.to_string().len() > max {
        errors.too_long(path, max);
    } else if !value.is_object() {
        errors.invalid(path, "<value omitted>", "must be a valid JSON object");
    }
}

//! One device of a slice.

use serde_json::Value;

use super::super::get::{entries, field, flag, named, one_of, text};
use super::super::pod;
use super::{EFFECTS, MAX, MAX_TAINTS, binding, bounded, capacity, name, slice, unique};
use crate::meta::{at, dns1123_label, dns1123_subdomain, label_value, qualified_name};
use crate::status::{FieldErrors, Path};

/// Most sets of counters that a device takes from.
const MAX_CONSUMED: usize = 2;
/// Longest value of an attribute, in bytes.
const VALUE_MAX: usize = 64;

/// A device; `apart`: every device says itself from where it can be reached.
pub(super) fn device(device: &Value, apart: bool, path: &Path<'_>, errors: &mut FieldErrors) {
    let own = text(device, "name");
    named(errors, &path.child("name"), own, dns1123_label(own));
    let count = entries(device, "attributes").count() + entries(device, "capacity").count();
    if count > MAX {
        let why = format!("the total number of attributes and capacities must not exceed {MAX}");
        errors.invalid(path, count, why);
    }
    let all = path.child("attributes");
    for (key, attribute) in entries(device, "attributes") {
        name::qualified(key, &all, errors);
        self::attribute(attribute, &all.key(&name::shown(key)), errors);
    }
    let shared = flag(device, "allowMultipleAllocations");
    let all = path.child("capacity");
    for (key, amount) in entries(device, "capacity") {
        name::qualified(key, &all, errors);
        let shown = name::shown(key);
        let path = all.key(&shown);
        match field(amount, "requestPolicy") {
            Some(policy) if shared => {
                capacity::policy(at(amount, &["value"]), policy, &path.child("requestPolicy"), errors);
            }
            Some(_) => errors.forbidden(&path.child("requestPolicy"), "allowMultipleAllocations must be true"),
            None => {}
        }
    }
    taints(device, path, errors);
    let sets = bounded(device, "consumesCounters", MAX_CONSUMED, path, errors);
    let all = path.child("consumesCounters");
    for (index, set) in sets.iter().enumerate() {
        slice::counters(set, "counterSet", &all.index(index), errors);
    }
    unique(sets.iter().map(|set| text(set, "counterSet")), &all, errors);
    nodes(device, apart, path, errors);
    binding(device, path, errors);
}

fn taints(device: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    for (index, taint) in bounded(device, "taints", MAX_TAINTS, path, errors).iter().enumerate() {
        let path = path.child("taints");
        let path = path.index(index);
        let (key, value) = (text(taint, "key"), text(taint, "value"));
        named(errors, &path.child("key"), key, qualified_name(key));
        named(errors, &path.child("value"), value, label_value(value));
        one_of(errors, &path.child("effect"), text(taint, "effect"), &EFFECTS, true);
    }
}

/// From where a device can be reached.
fn nodes(device: &Value, apart: bool, path: &Path<'_>, errors: &mut FieldErrors) {
    let ways = ["nodeName", "nodeSelector", "allNodes"].iter().filter(|key| field(device, key).is_some());
    if !apart {
        if ways.count() > 0 {
            let why = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the \
                       ResourceSlice spec";
            errors.invalid(path, Value::Null, why);
        }
        return;
    }
    let mut said: Vec<&str> = Vec::new();
    match field(device, "nodeName").and_then(Value::as_str) {
        None => {}
        Some("") => errors.invalid(&path.child("nodeName"), "", "must not be empty"),
        Some(node) => {
            said.push("`nodeName`");
            named(errors, &path.child("nodeName"), node, dns1123_subdomain(node));
        }
    }
    if let Some(selector) = field(device, "nodeSelector") {
        said.push("`nodeSelector`");
        pod::node_selector(selector, &path.child("nodeSelector"), errors);
    }
    match field(device, "allNodes").and_then(Value::as_bool) {
        None => {}
        Some(true) => said.push("`allNodes`"),
        Some(false) => errors.invalid(&path.child("allNodes"), false, "must be either unset or set to true"),
    }
    let why = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the \
               ResourceSlice spec";
    match said.len() {
        0 => errors.required(path, why),
        1 => {}
        _ => errors.invalid(path, format!("{{{}}}", said.join(", ")), why),
    }
}

/// One value, of one type.
fn attribute(attribute: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let value = |key| field(attribute, key).and_then(Value::as_str);
    if value("string").is_some_and(|text| text.len() > VALUE_MAX) {
        errors.too_long(&path.child("string"), VALUE_MAX);
    }
    if let Some(version) = value("version") {
        if !is_version(version) {
            let why = "must be a string compatible with semver.org spec 2.0.0";
            errors.invalid(&path.child("version"), version, why);
        }
        if version.len() > VALUE_MAX {
            errors.too_long(&path.child("version"), VALUE_MAX);
        }
    }
    let why = "exactly one value must be specified";
    match ["bool", "int", "string", "version"].iter().filter(|key| field(attribute, key).is_some()).count() {
        0 => errors.invalid(path, "", why),
        1 => {}
        _ => errors.invalid(path, attribute.clone(), why),
    }
}

/// A version as semver.org 2.0.0 has it.
fn is_version(text: &str) -> bool {
    let word = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let number = |part: &str| digits(part) && (part.len() == 1 || !part.starts_with('0'));
    let (version, build) = text.split_once('+').map_or((text, None), |(version, build)| (version, Some(build)));
    let (core, early) = version.split_once('-').map_or((version, None), |(core, early)| (core, Some(early)));
    core.split('.').count() == 3
        && core.split('.').all(number)
        && early.is_none_or(|early| early.split('.').all(|part| word(part) && (!digits(part) || number(part))))
        && build.is_none_or(|build| build.split('.').all(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_those_of_semver() {
        for version in ["1.2.3", "0.0.0", "1.2.3-alpha.1", "1.2.3-0a", "1.2.3+001", "1.2.3-a-b+c-d.e"] {
            assert!(is_version(version), "{version}");
        }
        for version in ["", "1", "1.2", "1.2.3.4", "01.2.3", "1.2.3-", "1.2.3-01", "1.2.3+", "v1.2.3", "1.2.3-a..b"] {
            assert!(!is_version(version), "{version}");
        }
    }
}

//! Nodes and runtime classes.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::addresses;
use super::get::{empty, entries, field, immutable, list, named, required_name, required_of_listed, strings, text};
use super::resources;
use crate::meta::{SUBDOMAIN_MAX, at, dns1123_label, label_value, qualified_name};
use crate::status::{ErrorKind, FieldErrors, NODE_ADDRESS, Path, TAINT, TOLERATION, quote};

/// Node: taints and pod ranges.
pub(super) fn node(object: &Value, errors: &mut FieldErrors) {
    let spec = at(object, &["spec"]);
    let path = Path::new("spec");
    let mut seen: HashSet<(&str, &str)> = HashSet::new();
    for (index, taint) in list(spec, "taints").iter().enumerate() {
        // Upstream's path is that of the metadata.
        let path = Path::new("metadata");
        let path = path.child("taints");
        let path = path.index(index);
        let (key, value, effect) = (text(taint, "key"), text(taint, "value"), text(taint, "effect"));
        named(errors, &path.child("key"), key, qualified_name(key));
        let wrong = label_value(value);
        if !wrong.is_empty() {
            errors.invalid(&path.child("value"), value, wrong.join(";"));
        }
        required_of_listed(errors, &path.child("effect"), effect, &["NoSchedule", "PreferNoSchedule", "NoExecute"]);
        if !seen.insert((key, effect)) {
            let why = "taints must be unique by key and effect pair";
            errors.push(ErrorKind::Duplicate, &path, TAINT.of(taint), why);
        }
    }
    let ranges: Vec<&str> = strings(spec, "podCIDRs").collect();
    for (index, range) in ranges.iter().enumerate() {
        addresses::range(range, &path.child("podCIDRs").index(index), errors);
    }
    let wide = ranges.iter().filter(|range| range.contains(':')).count();
    if wide > 1 || ranges.len() - wide > 1 {
        errors.invalid(
            &path.child("podCIDRs"),
            spec["podCIDRs"].clone(),
            "may specify no more than one CIDR for each IP family",
        );
    }
    let mut seen: HashSet<&str> = HashSet::new();
    for (index, range) in ranges.iter().enumerate() {
        if !seen.insert(range) {
            errors.duplicate(&path.child("podCIDRs").index(index), *range);
        }
    }
    capacities(object, errors);
}

fn capacities(object: &Value, errors: &mut FieldErrors) {
    let status = Path::new("status");
    for key in ["capacity", "allocatable"] {
        for (name, value) in entries(at(object, &["status"]), key) {
            resources::value(name, value, &status.child(key).child(name), errors);
        }
    }
}

/// `status`: proper amounts, every address once, and features in their order.
pub(super) fn status_update(new: &Value, errors: &mut FieldErrors) {
    capacities(new, errors);
    let status = Path::new("status");
    features(at(new, &["status"]), &status.child("declaredFeatures"), errors);
    let mut seen: HashSet<&Value> = HashSet::new();
    for (index, address) in list(at(new, &["status"]), "addresses").iter().enumerate() {
        if !seen.insert(address) {
            errors.duplicate(&status.child("addresses").index(index), NODE_ADDRESS.of(address));
        }
    }
}

/// What a node says that it can (KEP-5328): names in order, each once.
fn features(status: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let mut before: Option<&str> = None;
    for (index, name) in strings(status, "declaredFeatures").enumerate() {
        let path = path.index(index);
        if before == Some(name) {
            errors.duplicate(&path, name);
        } else if before.is_some_and(|before| before > name) {
            errors.invalid(&path, name, "list must be sorted alphabetically");
        }
        if let Some(rule) = wrong_with_feature(name) {
            errors.invalid(&path, name, format!("invalid feature name {}: {rule}", quote(name)));
        }
        before = Some(name);
    }
}

fn wrong_with_feature(name: &str) -> Option<&'static str> {
    let proper = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic()) && part.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    if name.len() > SUBDOMAIN_MAX {
        Some("must be no more than 253 characters")
    } else if !name.starts_with(|c: char| c.is_ascii_uppercase()) || !name.split('/').all(proper) {
        Some(
            "must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or \
             MyFeature/mySubFeature), and contain only alphanumeric characters and slashes",
        )
    } else {
        None
    }
}

/// Addresses and identity of a node are written once.
pub(super) fn update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let (new, old) = (at(new, &["spec"]), at(old, &["spec"]));
    let path = Path::new("spec");
    if !empty(old, "podCIDRs") && field(new, "podCIDRs") != field(old, "podCIDRs") {
        errors.forbidden(&path.child("podCIDRs"), "node updates may not change podCIDR except from \"\" to valid");
    }
    if !empty(old, "providerID") && text(new, "providerID") != text(old, "providerID") {
        errors.forbidden(&path.child("providerID"), "node updates may not change providerID except from \"\" to valid");
    }
    if text(new, "externalID") != text(old, "externalID") {
        errors.forbidden(&path.child("externalID"), "may not be updated");
    }
}

/// RuntimeClass.
pub(super) fn runtime_class(object: &Value, errors: &mut FieldErrors) {
    required_name(errors, &Path::new("handler"), text(object, "handler"), dns1123_label);
    let overhead = json!({"limits": at(object, &["overhead", "podFixed"])});
    resources::requirements(&overhead, &Path::new("overhead"), errors);
    let scheduling = at(object, &["scheduling"]);
    let path = Path::new("scheduling");
    super::metadata::labels(at(scheduling, &["nodeSelector"]), &path.child("nodeSelector"), errors);
    let path = path.child("tolerations");
    super::pod::tolerations(scheduling, &path, errors);
    // For how long a taint is borne does not tell tolerations apart.
    let mut seen: HashSet<[&str; 4]> = HashSet::new();
    for (index, toleration) in list(scheduling, "tolerations").iter().enumerate() {
        if !seen.insert(["key", "operator", "value", "effect"].map(|key| text(toleration, key))) {
            errors.duplicate(&path.index(index), TOLERATION.of(toleration));
        }
    }
}

/// The handler of a RuntimeClass is for ever.
pub(super) fn runtime_class_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    immutable(errors, &Path::new("handler"), new.get("handler"), old.get("handler"));
}

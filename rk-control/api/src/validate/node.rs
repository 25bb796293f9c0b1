//! Nodes and runtime classes.

use serde_json::Value;

use super::get::{empty, field, immutable, list, named, one_of, required_name, strings, text};
use super::resources;
use crate::meta::{at, dns1123_label, label_value, qualified_name};
use crate::status::{FieldErrors, Path};

/// Of a node's spec, what others than its kubelet change, and what has rules of its own.
const MUTABLE: [&str; 6] = ["configSource", "podCIDR", "podCIDRs", "providerID", "taints", "unschedulable"];

/// Node: taints and pod ranges.
pub(super) fn node(object: &Value, errors: &mut FieldErrors) {
    let spec = at(object, &["spec"]);
    let path = Path::new("spec");
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for (index, taint) in list(spec, "taints").iter().enumerate() {
        let path = path.child("taints");
        let path = path.index(index);
        let (key, value, effect) = (text(taint, "key"), text(taint, "value"), text(taint, "effect"));
        named(errors, &path.child("key"), key, qualified_name(key));
        named(errors, &path.child("value"), value, label_value(value));
        one_of(errors, &path.child("effect"), effect, &["NoSchedule", "PreferNoSchedule", "NoExecute"], true);
        if seen.contains(&(key, effect)) {
            errors.duplicate(&path, taint.clone());
        }
        seen.push((key, effect));
    }
    let ranges: Vec<&str> = strings(spec, "podCIDRs").collect();
    for (index, range) in ranges.iter().enumerate() {
        if range.parse::<ipnet::IpNet>().is_err() {
            let why = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
            errors.invalid(&path.child("podCIDRs").index(index), *range, why);
        }
    }
    if ranges.len() > 2 {
        errors.invalid(
            &path.child("podCIDRs"),
            spec["podCIDRs"].clone(),
            "may specify no more than one CIDR for each IP family",
        );
    }
    for key in ["capacity", "allocatable"] {
        let path = Path::new("status");
        resources::amounts(at(object, &["status", key]), &path.child(key), errors);
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
    let rest = |spec: &Value| -> Vec<(String, Value)> {
        let fixed = spec.as_object().into_iter().flatten().filter(|(key, _)| !MUTABLE.contains(&key.as_str()));
        fixed.map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    if rest(new) != rest(old) {
        errors.forbidden(&Path::ROOT, "node updates may only change labels, taints, or capacity");
    }
}

/// RuntimeClass.
pub(super) fn runtime_class(object: &Value, errors: &mut FieldErrors) {
    required_name(errors, &Path::new("handler"), text(object, "handler"), dns1123_label);
    let path = Path::new("overhead");
    resources::amounts(at(object, &["overhead", "podFixed"]), &path.child("podFixed"), errors);
    let scheduling = at(object, &["scheduling"]);
    let path = Path::new("scheduling");
    super::metadata::labels(at(scheduling, &["nodeSelector"]), &path.child("nodeSelector"), errors);
    super::pod::tolerations(scheduling, &path.child("tolerations"), errors);
    let tolerations = list(scheduling, "tolerations");
    for (index, toleration) in tolerations.iter().enumerate() {
        if tolerations.iter().take(index).any(|other| other == toleration) {
            errors.duplicate(&path.child("tolerations").index(index), toleration.clone());
        }
    }
}

/// The handler of a RuntimeClass is for ever.
pub(super) fn runtime_class_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    immutable(errors, &Path::new("handler"), new.get("handler"), old.get("handler"));
}

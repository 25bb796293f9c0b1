//! The spec of a pod.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::addresses::address;
use super::super::get::{
    field, flag, in_range, int, list, named, one_of, one_of_listed, required_of_listed, strings, text,
};
use super::super::resources;
use super::{Owner, affinity, claims, container, dns, security, system, volume, windows};
use crate::meta::{at, dns1123_label, dns1123_subdomain, label_value, qualified_name};
use crate::status::{FieldErrors, Path};

/// Longest name that the kernel gives a machine.
const MAX_HOSTNAME: usize = 64;

/// Everything about a spec.
pub(super) fn spec(spec: &Value, path: &Path<'_>, owner: Owner, errors: &mut FieldErrors) {
    let volumes = volume::volumes(spec, owner, &path.child("volumes"), errors);
    let claims = claims::claims(spec, &path.child("resourceClaims"), errors);
    container::containers(spec, path, owner, &container::Names { volumes, claims }, errors);
    let policies = ["Always", "OnFailure", "Never"];
    required_of_listed(errors, &path.child("restartPolicy"), text(spec, "restartPolicy"), &policies);
    dns::dns(spec, path, errors);
    security::pod(spec, path, errors);
    claims::pod_resources(spec, path, errors);
    names(spec, path, errors);
    numbers(spec, path, errors);
    for (key, value) in super::super::get::entries(spec, "nodeSelector") {
        let path = path.child("nodeSelector");
        named(errors, &path, key, qualified_name(key));
        let value = value.as_str().unwrap_or_default();
        named(errors, &path.key(key), value, label_value(value));
    }
    affinity::affinity(at(spec, &["affinity"]), &path.child("affinity"), errors);
    affinity::tolerations(spec, &path.child("tolerations"), errors);
    affinity::spread(spec, &path.child("topologySpreadConstraints"), errors);
    gates(spec, path, owner, errors);
    host_aliases(spec, &path.child("hostAliases"), errors);
    if let Some(name) = at(spec, &["os", "name"]).as_str() {
        let path = path.child("os");
        if name.is_empty() {
            errors.required(&path.child("name"), "cannot be empty");
        }
        one_of(errors, &path, name, &["linux", "windows"], false);
    }
    system::fields(spec, path, errors);
    windows::host_process(spec, path, errors);
    if let Some(overhead) = field(spec, "overhead") {
        resources::requirements(&json!({"limits": overhead}), &path.child("overhead"), errors);
    }
}

fn names(spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    for key in ["serviceAccountName", "nodeName", "priorityClassName"] {
        let value = text(spec, key);
        if !value.is_empty() {
            named(errors, &path.child(key), value, dns1123_subdomain(value));
        }
    }
    if let Some(class) = field(spec, "runtimeClassName").and_then(Value::as_str) {
        named(errors, &path.child("runtimeClassName"), class, dns1123_subdomain(class));
    }
    for key in ["hostname", "subdomain"] {
        let value = text(spec, key);
        if !value.is_empty() {
            named(errors, &path.child(key), value, dns1123_label(value));
        }
    }
    if let Some(name) = field(spec, "hostnameOverride").and_then(Value::as_str) {
        let path = path.child("hostnameOverride");
        named(errors, &path, name, dns1123_subdomain(name));
        if name.len() > MAX_HOSTNAME {
            errors.too_long(&path, MAX_HOSTNAME);
        }
        for other in ["hostNetwork", "setHostnameAsFQDN"].into_iter().filter(|other| flag(spec, other)) {
            errors.forbidden(&path, format!("may not be specified when {other} is true"));
        }
    }
    let preemption = text(spec, "preemptionPolicy");
    one_of_listed(errors, &path.child("preemptionPolicy"), preemption, &["PreemptLowerPriority", "Never"]);
}

fn numbers(spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    if let Some(seconds) = int(spec, "activeDeadlineSeconds") {
        in_range(errors, &path.child("activeDeadlineSeconds"), seconds, 1, i64::from(i32::MAX));
    }
    if field(spec, "terminationGracePeriodSeconds").is_none() {
        errors.required(&path.child("terminationGracePeriodSeconds"), "");
    }
    if flag(spec, "shareProcessNamespace") && flag(spec, "hostPID") {
        errors.invalid(
            &path.child("shareProcessNamespace"),
            true,
            "ShareProcessNamespace and HostPID cannot both be enabled",
        );
    }
    if spec.get("hostUsers").and_then(Value::as_bool) == Some(false) {
        for host in ["hostNetwork", "hostPID", "hostIPC"] {
            if flag(spec, host) {
                errors.forbidden(&path.child(host), "when `hostUsers` is false");
            }
        }
        for kind in ["initContainers", "containers", "ephemeralContainers"] {
            for (at, container) in list(spec, kind).iter().enumerate() {
                if !list(container, "volumeDevices").is_empty() {
                    let (all, reason) = (path.child(kind), "when `hostUsers` is false");
                    errors.forbidden(&all.index(at).child("volumeDevices"), reason);
                }
            }
        }
    }
}

fn gates(spec: &Value, path: &Path<'_>, owner: Owner, errors: &mut FieldErrors) {
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let gates = path.child("schedulingGates");
    for (index, gate) in list(spec, "schedulingGates").iter().enumerate() {
        let name = text(gate, "name");
        named(errors, &gates.index(index), name, qualified_name(name));
        if !seen.insert(name) {
            errors.duplicate(&gates.index(index), name);
        }
    }
    if owner == Owner::Pod && !seen.is_empty() && !text(spec, "nodeName").is_empty() {
        errors.forbidden(&path.child("nodeName"), "cannot be set until all schedulingGates have been cleared");
    }
    for (index, gate) in list(spec, "readinessGates").iter().enumerate() {
        let kind = text(gate, "conditionType");
        named(errors, &path.child("readinessGates").index(index).child("conditionType"), kind, qualified_name(kind));
    }
}

fn host_aliases(spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    for (index, alias) in list(spec, "hostAliases").iter().enumerate() {
        let path = path.index(index);
        address(text(alias, "ip"), &path.child("ip"), errors);
        for (at, name) in strings(alias, "hostnames").enumerate() {
            named(errors, &path.child("hostnames").index(at), name, dns1123_subdomain(name));
        }
    }
}

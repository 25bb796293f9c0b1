//! What the status of a pod may say.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::addresses::address;
use super::super::get::{immutable, int, list, named, text};
use super::{annotations, claims, restart};
use crate::meta::{at, dns1123_subdomain, qualified_name};
use crate::status::{FieldErrors, POD_IP, Path};

/// Conditions of the system itself.
const CONDITIONS: [&str; 3] = ["PodScheduled", "Ready", "Initialized"];
const KINDS: [(&str, &str); 3] = [
    ("containerStatuses", "containers"),
    ("initContainerStatuses", "initContainers"),
    ("ephemeralContainerStatuses", "ephemeralContainers"),
];

/// `status`: what was decided stays so, and containers that ended for good do not come back.
pub(in super::super) fn status_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    annotations::update(new, old, errors);
    let (spec, now, before) = (at(old, &["spec"]), at(new, &["status"]), at(old, &["status"]));
    for (index, condition) in list(now, "conditions").iter().enumerate() {
        let kind = text(condition, "type");
        if !CONDITIONS.contains(&kind) {
            // Upstream's path is that of the metadata.
            let path = Path::new("metadata");
            let path = path.child("conditions");
            named(errors, &path.index(index).child("Type"), kind, qualified_name(kind));
        }
    }
    let path = Path::new("status");
    let node = text(now, "nominatedNodeName");
    if !node.is_empty() && node != text(before, "nominatedNodeName") {
        named(errors, &path.child("nominatedNodeName"), node, dns1123_subdomain(node));
    }
    immutable(errors, &path.child("qosClass"), now.get("qosClass"), before.get("qosClass"));
    for (statuses, containers) in KINDS {
        ended(list(now, statuses), list(before, statuses), spec, containers, &path.child(statuses), errors);
    }
    claims::made(now, spec, &path, errors);
    claims::extended(now, spec, &path, errors);
    addresses(now, "podIPs", &path, errors);
    let hosts = list(now, "hostIPs");
    if let Some(first) = hosts.first().map(|host| text(host, "ip")).filter(|first| *first != text(now, "hostIP")) {
        errors.invalid(&path.child("hostIPs").index(0).child("ip"), first, "must be equal to `hostIP`");
    }
    addresses(now, "hostIPs", &path, errors);
}

/// A container that ended for good does not come back.
fn ended(now: &[Value], before: &[Value], spec: &Value, kind: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    let ephemeral = kind == "ephemeralContainers";
    if !ephemeral && (text(spec, "restartPolicy") == "Always" || restart::may_restart_all(spec)) {
        return;
    }
    // Of several of a name the first counts.
    let containers: BTreeMap<&str, &Value> =
        list(spec, kind).iter().rev().map(|container| (text(container, "name"), container)).collect();
    let still: BTreeSet<&str> = now
        .iter()
        .filter(|status| at(status, &["state", "terminated"]).is_null())
        .map(|status| text(status, "name"))
        .collect();
    for (index, old) in before.iter().enumerate() {
        let terminated = at(old, &["state", "terminated"]);
        if terminated.is_null() {
            continue;
        }
        let name = text(old, "name");
        let container = containers.get(name).copied();
        if !ephemeral && restart::runs_again(spec, container, int(terminated, "exitCode").unwrap_or(0)) {
            continue;
        }
        if still.contains(name) {
            let why = "may not be transitioned to non-terminated state";
            errors.forbidden(&path.index(index).child("state"), why);
        }
    }
}

/// Addresses: at most one of each family.
fn addresses(status: &Value, key: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    let path = path.child(key);
    let all: Vec<&str> = list(status, key).iter().map(|address| text(address, "ip")).collect();
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for (index, ip) in all.iter().enumerate() {
        address(ip, &path.index(index), errors);
        if !seen.insert(ip) {
            errors.duplicate(&path.index(index), POD_IP.of(&serde_json::json!({"ip": ip})));
        }
    }
    let wide = all.iter().filter(|ip| ip.contains(':')).count();
    if wide > 1 || all.len() - wide > 1 {
        let shown: Vec<Value> = list(status, key).iter().map(|address| POD_IP.of(address)).collect();
        errors.invalid(&path, shown, "may specify no more than one IP for each IP family");
    }
}

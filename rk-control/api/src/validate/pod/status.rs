//! What the status of a pod may say.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::addresses::address;
use super::super::get::{field, immutable, in_range, int, list, named, text};
use super::security::MAX_ID;
use super::{annotations, claims, restart};
use crate::meta::{at, dns1123_subdomain, qualified_name};
use crate::status::{FieldErrors, POD_IP, Path};

/// Conditions of the system itself.
const CONDITIONS: [&str; 3] = ["PodScheduled", "Ready", "Initialized"];
const HEALTH: [&str; 3] = ["Healthy", "Unhealthy", "Unknown"];
const KINDS: [(&str, &str); 3] = [
    ("containerStatuses", "containers"),
    ("initContainerStatuses", "initContainers"),
    ("ephemeralContainerStatuses", "ephemeralContainers"),
];

/// `status`: what was decided stays so, and containers that ended for good do not come back.
pub(in super::super) fn status_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    annotations::update(new, old, errors);
    let (spec, now, before) = (at(old, &["spec"]), at(new, &["status"]), at(old, &["status"]));
    // Upstream's path is that of the metadata.
    let path = Path::new("metadata");
    let path = path.child("conditions");
    for (index, condition) in list(now, "conditions").iter().enumerate() {
        let (path, kind) = (path.index(index), text(condition, "type"));
        if let Some(generation) = int(condition, "observedGeneration").filter(|generation| *generation < 0) {
            errors.invalid(&path.child("observedGeneration"), generation, "must be a non-negative integer");
        }
        if !CONDITIONS.contains(&kind) {
            named(errors, &path.child("Type"), kind, qualified_name(kind));
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
    for (statuses, containers) in KINDS {
        for (index, status) in list(now, statuses).iter().enumerate() {
            let here = path.child(statuses);
            let here = here.index(index);
            user(status, spec, &here.child("linux"), errors);
            devices(status, list(spec, containers), containers, &here.child("allocatedResourcesStatus"), errors);
        }
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

/// Who a container runs as (KEP-3619).
fn user(status: &Value, spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let Some(linux) = field(at(status, &["user"]), "linux") else { return };
    if text(at(spec, &["os"]), "name") == "windows" {
        return errors.forbidden(path, "cannot be set for a windows pod");
    }
    for key in ["uid", "gid"] {
        in_range(errors, &path.child(key), int(linux, key).unwrap_or(0), 0, MAX_ID);
    }
    for (index, group) in list(linux, "supplementalGroups").iter().enumerate() {
        in_range(errors, &path.child("supplementalGroups").index(index), group.as_i64().unwrap_or(0), 0, MAX_ID);
    }
}

/// How the devices are that a container has (KEP-4680): each is of a resource or claim that it asks for, and told of once.
fn devices(status: &Value, containers: &[Value], kind: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    let all = list(status, "allocatedResourcesStatus");
    if kind == "ephemeralContainers" {
        if !all.is_empty() {
            errors.forbidden(path, "must not be specified in container status");
        }
        return;
    }
    let container = containers.iter().find(|container| text(container, "name") == text(status, "name"));
    let asks = container.map(|container| at(container, &["resources"]));
    for (index, own) in all.iter().enumerate() {
        let (path, name) = (path.index(index), text(own, "name"));
        let claimed = |claim: &Value| match text(claim, "request") {
            "" => name == format!("claim:{}", text(claim, "name")),
            request => name == format!("claim:{}/{request}", text(claim, "name")),
        };
        let (found, why) = if name.starts_with("claim:") {
            let why = "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or \
                       'claim:<claimName>' if request is empty";
            (asks.is_none_or(|asks| list(asks, "claims").iter().any(claimed)), why)
        } else {
            let why = "must match one of the container's resource requests";
            (asks.is_none_or(|asks| field(at(asks, &["requests"]), name).is_some()), why)
        };
        if !found {
            errors.invalid(&path.child("name"), name, why);
        }
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        for (index, device) in list(own, "resources").iter().enumerate() {
            let path = path.child("resources");
            let path = path.index(index);
            let (health, id) = (text(device, "health"), text(device, "resourceID"));
            if !HEALTH.contains(&health) {
                errors.unsupported(&path.child("health"), health, &HEALTH);
            }
            if !seen.insert(id) {
                errors.duplicate(&path.child("resourceID"), id);
            }
        }
    }
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

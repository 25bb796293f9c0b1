//! Services.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::Value;

use super::addresses::{address, range};
use super::discovery::special;
use super::get::{empty, field, in_range, int, list, named, one_of, port_or_name, strings, text, word_of};
use super::metadata;
use crate::meta::{at, dns1123_label, dns1123_subdomain, qualified_name};
use crate::status::{FieldErrors, Path, SERVICE_PORT};

const BALANCED_ONLY: &str = "may only be used when `type` is 'LoadBalancer'";
const RANGES: &str = "loadBalancerSourceRanges";
/// The annotation of [`RANGES`].
const RANGES_OF_OLD: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
/// How near traffic stays, by its name of today and by that of old.
const TOPOLOGY: [&str; 2] = ["service.kubernetes.io/topology-mode", "service.kubernetes.io/topology-aware-hints"];
const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];

/// Service. Rules are asked in upstream's order, which is that of what is told.
pub(super) fn service(object: &Value, errors: &mut FieldErrors) {
    let spec = at(object, &["spec"]);
    let path = Path::new("spec");
    let kind = text(spec, "type");
    let notes = at(object, &["metadata", "annotations"]);
    topology(notes, errors);
    if empty(spec, "ports") && !is_headless(spec) && kind != "ExternalName" {
        errors.required(&path.child("ports"), "");
    }
    by_type(spec, kind, &path, errors);
    ports(spec, &path.child("ports"), errors);
    metadata::labels(at(spec, &["selector"]), &path.child("selector"), errors);
    affinity(spec, &path, errors);
    if kind != "ExternalName" {
        cluster_addresses(spec, errors);
    }
    external_addresses(spec, &path.child("externalIPs"), errors);
    one_of(errors, &path.child("type"), kind, &TYPES, true);
    numbers(spec, kind, &path.child("ports"), errors);
    source_ranges(spec, notes, kind, errors);
    traffic(spec, kind, &path, errors);
}

fn is_headless(spec: &Value) -> bool {
    text(spec, "clusterIP") == "None"
}

/// What only some types may have, or must.
fn by_type(spec: &Value, kind: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    match kind {
        "LoadBalancer" | "NodePort" if is_headless(spec) => {
            let why = format!("may not be set to 'None' for {kind} services");
            errors.invalid(&path.child("clusterIPs").index(0), "None", why);
        }
        "ExternalName" => {
            let given = [("clusterIPs", "clusterIP"), ("ipFamilies", ""), ("ipFamilyPolicy", "")];
            for (field, _) in given.into_iter().filter(|(many, one)| !empty(spec, many) || !empty(spec, one)) {
                errors.forbidden(&path.child(field), "may not be set for ExternalName services");
            }
            let name = text(spec, "externalName");
            let name = name.strip_suffix('.').unwrap_or(name);
            if name.is_empty() {
                errors.required(&path.child("externalName"), "");
            } else {
                named(errors, &path.child("externalName"), name, dns1123_subdomain(name));
            }
        }
        _ => {}
    }
}

/// How near traffic stays, as annotations say it.
fn topology(notes: &Value, errors: &mut FieldErrors) {
    let path = Path::new("metadata");
    let path = path.child("annotations");
    let noted = |key: &str| notes.get(key).and_then(Value::as_str);
    if let (Some(mode), Some(hints)) = (noted(TOPOLOGY[0]), noted(TOPOLOGY[1]))
        && mode != hints
    {
        let why = format!("must match annotations[{}] when both are specified", TOPOLOGY[1]);
        errors.invalid(&path.key(TOPOLOGY[0]), mode, why);
    }
}

/// Whom a load balancer serves. The annotation counts where the field has nothing.
fn source_ranges(spec: &Value, notes: &Value, kind: &str, errors: &mut FieldErrors) {
    let path = Path::new("metadata");
    let path = path.child("annotations");
    let path = path.key(RANGES_OF_OLD);
    let noted = notes.get(RANGES_OF_OLD).and_then(Value::as_str);
    if !empty(spec, RANGES) {
        let path = Path::new("spec");
        // Upstream's path begins with a capital.
        let path = path.child("LoadBalancerSourceRanges");
        if kind != "LoadBalancer" {
            errors.forbidden(&path, BALANCED_ONLY);
        }
        for (index, range) in strings(spec, RANGES).map(str::trim).enumerate() {
            self::range(range, &path.index(index), errors);
        }
    } else if let Some(ranges) = noted {
        if kind != "LoadBalancer" {
            errors.forbidden(&path, BALANCED_ONLY);
        }
        for range in ranges.split(',').map(str::trim).filter(|_| !ranges.trim().is_empty()) {
            self::range(range, &path, errors);
        }
    }
}

fn affinity(spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let affinity = text(spec, "sessionAffinity");
    one_of(errors, &path.child("sessionAffinity"), affinity, &["ClientIP", "None"], true);
    let path = path.child("sessionAffinityConfig");
    match (affinity, field(spec, "sessionAffinityConfig")) {
        ("ClientIP", config) => {
            let path = path.child("clientIP");
            let path = path.child("timeoutSeconds");
            match config.and_then(|c| int(at(c, &["clientIP"]), "timeoutSeconds")) {
                Some(seconds) if (1..=86400).contains(&seconds) => {}
                Some(seconds) => errors.invalid(&path, seconds, "must be greater than 0 and less than 86400"),
                None => errors.required(&path, ""),
            }
        }
        ("None", Some(_)) => errors.forbidden(&path, "must not be set when session affinity is None"),
        _ => {}
    }
}

fn ports(spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let all = list(spec, "ports");
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for (index, port) in all.iter().enumerate() {
        let path = path.index(index);
        let name = text(port, "name");
        if name.is_empty() {
            if all.len() > 1 {
                errors.required(&path.child("name"), "");
            }
        } else {
            named(errors, &path.child("name"), name, dns1123_label(name));
            if !names.insert(name) {
                errors.duplicate(&path.child("name"), name);
            }
        }
        let (number, protocol) = (int(port, "port").unwrap_or(0), text(port, "protocol"));
        in_range(errors, &path.child("port"), number, 1, 65535);
        one_of(errors, &path.child("protocol"), protocol, &["SCTP", "TCP", "UDP"], true);
        port_or_name(errors, &path.child("targetPort"), at(port, &["targetPort"]));
        if let Some(app) = field(port, "appProtocol").and_then(Value::as_str) {
            named(errors, &path.child("appProtocol"), app, qualified_name(app));
        }
    }
}

/// Numbers of ports and of node ports are there once for a protocol.
fn numbers(spec: &Value, kind: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    let all = || list(spec, "ports").iter().enumerate();
    let node_ports =
        || all().filter_map(|(index, port)| Some((index, port, int(port, "nodePort").filter(|n| *n != 0)?)));
    for (index, ..) in node_ports().filter(|_| kind == "ClusterIP") {
        errors.forbidden(&path.index(index).child("nodePort"), "may not be used when `type` is 'ClusterIP'");
    }
    let mut seen: BTreeSet<(&str, i64)> = BTreeSet::new();
    for (index, port, number) in node_ports() {
        if !seen.insert((text(port, "protocol"), number)) {
            errors.duplicate(&path.index(index).child("nodePort"), number);
        }
    }
    seen.clear();
    for (index, port) in all() {
        let (number, protocol) = (int(port, "port").unwrap_or(0), text(port, "protocol"));
        if !seen.insert((protocol, number)) {
            let shown = SERVICE_PORT.of(&serde_json::json!({"port": number, "protocol": protocol}));
            errors.duplicate(&path.index(index), shown);
        }
    }
}

fn external_addresses(spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    for (index, ip) in strings(spec, "externalIPs").enumerate() {
        let path = path.index(index);
        let before = errors.0.len();
        address(ip, &path, errors);
        if errors.0.len() == before {
            special(ip, &path, errors);
        }
    }
}

/// What the addresses, families and policy of a Service's `spec` must be, whatever the cluster has: rules of its own that are asked once
/// more before anything is allocated.
pub fn cluster_addresses(spec: &Value, errors: &mut FieldErrors) {
    let path = Path::new("spec");
    let addresses = path.child("clusterIPs");
    let shown = at(spec, &["clusterIPs"]);
    match (text(spec, "clusterIP"), strings(spec, "clusterIPs").next()) {
        ("", Some(_)) => errors.invalid(&addresses, shown.clone(), "must be empty when `clusterIP` is not specified"),
        (single, Some(first)) if first != single => {
            errors.invalid(&addresses, shown.clone(), "first value must match `clusterIP`");
        }
        _ => {}
    }
    let mut families = BTreeSet::new();
    for (index, family) in strings(spec, "ipFamilies").enumerate() {
        let here = path.child("ipFamilies");
        one_of(errors, &here.index(index), family, &["IPv4", "IPv6"], true);
        if !families.insert(family) {
            errors.duplicate(&here.index(index), family);
        }
    }
    let policies = ["PreferDualStack", "RequireDualStack", "SingleStack"];
    word_of(errors, &path, spec, "ipFamilyPolicy", &policies);
    cluster_ips(spec, &addresses, errors);
}

/// Addresses inside the cluster: at most one of each family, or none at all.
fn cluster_ips(spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let all: Vec<&str> = strings(spec, "clusterIPs").collect();
    let shown = at(spec, &["clusterIPs"]);
    let before = errors.0.len();
    for (index, ip) in all.iter().enumerate() {
        if index == 0 && *ip == "None" {
            if all.len() > 1 {
                errors.invalid(path, shown.clone(), "'None' must be the first and only value");
            }
        } else {
            address(ip, &path.index(index), errors);
        }
    }
    let proper = errors.0.len() == before;
    if all.len() > 2 {
        errors.invalid(path, shown.clone(), "may only hold up to 2 values");
    }
    if !proper || all.first() == Some(&"None") {
        return;
    }
    let wide = all.iter().filter(|ip| ip.contains(':')).count();
    // Of three it is said alone that they are too many, while both families are among them.
    if all.len() > 1 && (wide == 0 || wide == all.len()) {
        errors.invalid(path, shown.clone(), "may specify no more than one IP for each IP family");
    }
    for (index, (ip, family)) in all.iter().zip(strings(spec, "ipFamilies")).enumerate() {
        if matches!(family, "IPv4" | "IPv6") && ip.contains(':') != (family == "IPv6") {
            let why = format!("expected an {family} value as indicated by `ipFamilies[{index}]`");
            errors.invalid(&path.index(index), *ip, why);
        }
    }
}

fn traffic(spec: &Value, kind: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    if field(spec, "allocateLoadBalancerNodePorts").is_some() && kind != "LoadBalancer" {
        errors.forbidden(&path.child("allocateLoadBalancerNodePorts"), BALANCED_ONLY);
    }
    if let Some(class) = field(spec, "loadBalancerClass").and_then(Value::as_str) {
        let here = path.child("loadBalancerClass");
        match kind {
            "LoadBalancer" => named(errors, &here, class, qualified_name(class)),
            _ => errors.forbidden(&here, BALANCED_ONLY),
        }
    }
    let external = text(spec, "externalTrafficPolicy");
    let reachable = matches!(kind, "LoadBalancer" | "NodePort") || (kind == "ClusterIP" && !empty(spec, "externalIPs"));
    let here = path.child("externalTrafficPolicy");
    if !external.is_empty() && !reachable {
        errors.invalid(&here, external, "may only be set for externally-accessible services");
    } else {
        one_of(errors, &here, external, &["Cluster", "Local"], reachable);
    }
    let (check, here) = (int(spec, "healthCheckNodePort").unwrap_or(0), path.child("healthCheckNodePort"));
    if kind == "LoadBalancer" && external == "Local" {
        if check != 0 {
            in_range(errors, &here, check, 1, 65535);
        }
    } else if check != 0 {
        let why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        errors.invalid(&here, check, why);
    }
    word_of(errors, path, spec, "internalTrafficPolicy", &["Cluster", "Local"]);
    let distributions = ["PreferClose", "PreferSameNode", "PreferSameZone"];
    word_of(errors, path, spec, "trafficDistribution", &distributions);
}

/// The cluster IP of a Service that keeps one is for ever.
pub(super) fn update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let (new, old) = (at(new, &["spec"]), at(old, &["spec"]));
    let path = Path::new("spec");
    let keeps = |spec: &Value| text(spec, "type") != "ExternalName";
    if !keeps(new) || !keeps(old) {
        return;
    }
    if !(is_headless(new) && is_headless(old)) {
        kept("clusterIPs", "clusterIP", new, old, errors);
    }
    if !is_headless(new) && !is_headless(old) {
        kept("ipFamilies", "ipFamily", new, old, errors);
    }
    let class = |spec: &Value| field(spec, "loadBalancerClass").cloned();
    let balanced = |spec: &Value| text(spec, "type") == "LoadBalancer";
    if balanced(new) && balanced(old) && class(new) != class(old) {
        errors.invalid(&path.child("loadBalancerClass"), class(new).unwrap_or_default(), "may not change once set");
    }
    let checked = |spec: &Value| text(spec, "type") == "LoadBalancer" && text(spec, "externalTrafficPolicy") == "Local";
    if checked(new) && checked(old) {
        let key = "healthCheckNodePort";
        if field(new, key) != field(old, key) {
            errors.forbidden(&path.child(key), "field is immutable");
        }
    }
}

/// What a Service got first stays; the second is given back with the policy that says so.
fn kept(key: &str, noun: &str, new: &Value, old: &Value, errors: &mut FieldErrors) {
    let path = Path::new("spec");
    let here = path.child(key);
    let (now, before) = (list(new, key), list(old, key));
    let (shown, policy) = (|| now.to_vec(), at(new, &["ipFamilyPolicy"]));
    let compared = if now.len() == before.len() { now.len() } else { 1 };
    for (index, _) in now.iter().zip(before).take(compared).enumerate().filter(|(_, (now, before))| now != before) {
        let index = if key == "clusterIPs" { index } else { 0 };
        errors.invalid(&here.index(index), shown(), "may not change once set");
    }
    if now.len() < before.len() && empty(new, "clusterIPs") {
        errors.invalid(&here.index(0), shown(), format!("primary {noun} can not be unset"));
    }
    if now.len() == 1 && before.len() > 1 && policy != "SingleStack" {
        let why = format!("must be set to 'SingleStack' when releasing the secondary {noun}");
        errors.invalid(&path.child("ipFamilyPolicy"), policy.clone(), why);
    }
}

/// A load balancer's addresses belong to Services that have one.
pub(super) fn status_update(new: &Value, errors: &mut FieldErrors) {
    let balancer = at(new, &["status", "loadBalancer"]);
    let status = Path::new("status");
    let path = status.child("loadBalancer");
    let path = path.child("ingress");
    if text(at(new, &["spec"]), "type") != "LoadBalancer" && !empty(balancer, "ingress") {
        return errors.forbidden(&path, "may only be used when `spec.type` is 'LoadBalancer'");
    }
    for (index, ingress) in list(balancer, "ingress").iter().enumerate() {
        self::ingress(ingress, &path.index(index), errors);
    }
}

fn ingress(ingress: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let (ip, host) = (text(ingress, "ip"), text(ingress, "hostname"));
    if !ip.is_empty() {
        address(ip, &path.child("ip"), errors);
    }
    let here = path.child("ipMode");
    match field(ingress, "ipMode").and_then(Value::as_str) {
        None if !ip.is_empty() => errors.required(&here, "must be specified when `ip` is set"),
        None => {}
        Some(_) if ip.is_empty() => errors.forbidden(&here, "may not be specified when `ip` is not set"),
        Some(mode) => one_of(errors, &here, mode, &["Proxy", "VIP"], false),
    }
    if !host.is_empty() {
        named(errors, &path.child("hostname"), host, dns1123_subdomain(host));
        if host.parse::<IpAddr>().is_ok() {
            errors.invalid(&path.child("hostname"), host, "must be a DNS name, not an IP address");
        }
    }
}

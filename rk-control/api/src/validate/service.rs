//! Services.

use std::net::IpAddr;

use serde_json::Value;

use super::get::{empty, field, immutable, in_range, int, list, named, one_of, port_or_name, strings, text};
use super::metadata;
use crate::meta::{at, dns1123_label, dns1123_subdomain, qualified_name};
use crate::status::{FieldErrors, Path};

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const NOT_AN_IP: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";

/// Service.
pub(super) fn service(object: &Value, errors: &mut FieldErrors) {
    let spec = at(object, &["spec"]);
    let path = Path::new("spec");
    let kind = text(spec, "type");
    let headless = text(spec, "clusterIP") == "None";
    if empty(spec, "ports") && !headless && kind != "ExternalName" {
        errors.required(&path.child("ports"), "");
    }
    match kind {
        "LoadBalancer" if headless => {
            errors.invalid(
                &path.child("clusterIPs").index(0),
                "None",
                "may not be set to 'None' for LoadBalancer services",
            );
        }
        "NodePort" if headless => {
            errors.invalid(
                &path.child("clusterIPs").index(0),
                "None",
                "may not be set to 'None' for NodePort services",
            );
        }
        "ExternalName" => {
            if !empty(spec, "clusterIPs") || !empty(spec, "clusterIP") {
                errors.forbidden(&path.child("clusterIPs"), "may not be set for ExternalName services");
            }
            let name = text(spec, "externalName").trim_end_matches('.');
            if name.is_empty() {
                errors.required(&path.child("externalName"), "");
            } else {
                named(errors, &path.child("externalName"), name, dns1123_subdomain(name));
            }
        }
        _ => {}
    }
    ports(spec, kind, &path.child("ports"), errors);
    metadata::labels(at(spec, &["selector"]), &path.child("selector"), errors);
    affinity(spec, &path, errors);
    addresses(spec, kind, &path, errors);
    one_of(errors, &path.child("type"), kind, &TYPES, true);
    traffic(spec, kind, &path, errors);
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

fn ports(spec: &Value, kind: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    let all = list(spec, "ports");
    let mut names: Vec<&str> = Vec::new();
    let (mut seen, mut node_ports) = (Vec::<(&str, i64)>::new(), Vec::<(&str, i64)>::new());
    for (index, port) in all.iter().enumerate() {
        let path = path.index(index);
        let name = text(port, "name");
        if name.is_empty() {
            if all.len() > 1 {
                errors.required(&path.child("name"), "");
            }
        } else {
            named(errors, &path.child("name"), name, dns1123_label(name));
            if names.contains(&name) {
                errors.duplicate(&path.child("name"), name);
            }
            names.push(name);
        }
        let (number, protocol) = (int(port, "port").unwrap_or(0), text(port, "protocol"));
        in_range(errors, &path.child("port"), number, 1, 65535);
        one_of(errors, &path.child("protocol"), protocol, &["SCTP", "TCP", "UDP"], true);
        port_or_name(errors, &path.child("targetPort"), at(port, &["targetPort"]));
        if let Some(app) = field(port, "appProtocol").and_then(Value::as_str) {
            named(errors, &path.child("appProtocol"), app, qualified_name(app));
        }
        let node_port = int(port, "nodePort").unwrap_or(0);
        if node_port != 0 {
            if matches!(kind, "ClusterIP" | "ExternalName") {
                errors.forbidden(&path.child("nodePort"), format!("may not be used when `type` is '{kind}'"));
            } else if node_ports.contains(&(protocol, node_port)) {
                errors.duplicate(&path.child("nodePort"), node_port);
            }
            node_ports.push((protocol, node_port));
        }
        if seen.contains(&(protocol, number)) {
            errors.duplicate(&path, serde_json::json!({"port": number, "protocol": protocol}));
        }
        seen.push((protocol, number));
    }
}

fn addresses(spec: &Value, kind: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    for (index, ip) in strings(spec, "externalIPs").enumerate() {
        let path = path.child("externalIPs");
        let path = path.index(index);
        match ip.parse::<IpAddr>() {
            Err(_) => errors.invalid(&path, ip, NOT_AN_IP),
            Ok(parsed) => not_special(parsed, ip, &path, errors),
        }
    }
    let cluster_ips: Vec<&str> = strings(spec, "clusterIPs").collect();
    if let (Some(first), single) = (cluster_ips.first(), text(spec, "clusterIP"))
        && *first != single
    {
        errors.invalid(&path.child("clusterIPs"), spec["clusterIPs"].clone(), "first value must match `clusterIP`");
    }
    for (index, ip) in cluster_ips.iter().enumerate() {
        let path = path.child("clusterIPs");
        let path = path.index(index);
        if *ip == "None" {
            if cluster_ips.len() > 1 {
                errors.invalid(&path, *ip, "'None' must be the first and only value");
            }
        } else if ip.parse::<IpAddr>().is_err() {
            errors.invalid(&path, *ip, NOT_AN_IP);
        }
    }
    if cluster_ips.len() > 2 {
        errors.too_many(&path.child("clusterIPs"), cluster_ips.len(), 2);
    }
    let policy = ["PreferDualStack", "RequireDualStack", "SingleStack"];
    if kind != "ExternalName" {
        one_of(errors, &path.child("ipFamilyPolicy"), text(spec, "ipFamilyPolicy"), &policy, false);
        for (index, family) in strings(spec, "ipFamilies").enumerate() {
            one_of(errors, &path.child("ipFamilies").index(index), family, &["IPv4", "IPv6"], true);
        }
    } else {
        for key in ["ipFamilyPolicy", "ipFamilies"] {
            if !empty(spec, key) {
                errors.forbidden(&path.child(key), "may not be set for ExternalName services");
            }
        }
    }
    for (index, range) in strings(spec, "loadBalancerSourceRanges").enumerate() {
        let path = path.child("loadBalancerSourceRanges");
        if kind != "LoadBalancer" {
            errors.forbidden(&path, "may only be used when `type` is 'LoadBalancer'");
            break;
        }
        if range.trim().parse::<ipnet::IpNet>().is_err() {
            errors.invalid(
                &path.index(index),
                range,
                "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
            );
        }
    }
}

fn not_special(ip: IpAddr, shown: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    if ip.is_unspecified() {
        errors.invalid(path, shown, format!("may not be unspecified ({shown})"));
    }
    if ip.is_loopback() {
        errors.invalid(path, shown, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
    }
    let link_local = match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.segments().first().is_some_and(|s| s & 0xffc0 == 0xfe80),
    };
    if link_local {
        errors.invalid(path, shown, "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    }
    if ip.is_multicast() {
        errors.invalid(path, shown, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)");
    }
}

fn traffic(spec: &Value, kind: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    let external = text(spec, "externalTrafficPolicy");
    let reachable = matches!(kind, "LoadBalancer" | "NodePort") || (kind == "ClusterIP" && !empty(spec, "externalIPs"));
    if !external.is_empty() && !reachable {
        errors.invalid(
            &path.child("externalTrafficPolicy"),
            external,
            "may only be set for externally-accessible services",
        );
    } else {
        one_of(errors, &path.child("externalTrafficPolicy"), external, &["Cluster", "Local"], reachable);
    }
    one_of(
        errors,
        &path.child("internalTrafficPolicy"),
        text(spec, "internalTrafficPolicy"),
        &["Cluster", "Local"],
        false,
    );
    let check = int(spec, "healthCheckNodePort").unwrap_or(0);
    let wants_check = kind == "LoadBalancer" && external == "Local";
    if check != 0 && !wants_check {
        let why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        errors.invalid(&path.child("healthCheckNodePort"), check, why);
    }
    if field(spec, "allocateLoadBalancerNodePorts").is_some() && kind != "LoadBalancer" {
        errors
            .forbidden(&path.child("allocateLoadBalancerNodePorts"), "may only be used when `type` is 'LoadBalancer'");
    }
    if let Some(class) = field(spec, "loadBalancerClass").and_then(Value::as_str) {
        if kind != "LoadBalancer" {
            errors.forbidden(&path.child("loadBalancerClass"), "may only be used when `type` is 'LoadBalancer'");
        }
        named(errors, &path.child("loadBalancerClass"), class, qualified_name(class));
    }
    let distribution = text(spec, "trafficDistribution");
    one_of(
        errors,
        &path.child("trafficDistribution"),
        distribution,
        &["PreferClose", "PreferSameNode", "PreferSameZone"],
        false,
    );
}

/// The cluster IP of a Service that keeps one is for ever.
pub(super) fn update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let (new, old) = (at(new, &["spec"]), at(old, &["spec"]));
    let path = Path::new("spec");
    let keeps = |spec: &Value| text(spec, "type") != "ExternalName";
    if !keeps(new) || !keeps(old) {
        return;
    }
    let (now, before) = (text(new, "clusterIP"), text(old, "clusterIP"));
    if !before.is_empty() && now != before {
        errors.invalid(&path.child("clusterIPs").index(0), serde_json::json!([now]), "may not change once set");
    }
    let checked = |spec: &Value| text(spec, "type") == "LoadBalancer" && text(spec, "externalTrafficPolicy") == "Local";
    if checked(new) && checked(old) {
        let key = "healthCheckNodePort";
        immutable(errors, &path.child(key), field(new, key), field(old, key));
    }
    let class = |spec: &Value| field(spec, "loadBalancerClass").cloned();
    let balanced = |spec: &Value| text(spec, "type") == "LoadBalancer";
    if balanced(new) && balanced(old) && class(new) != class(old) {
        errors.invalid(&path.child("loadBalancerClass"), class(new).unwrap_or_default(), "may not change once set");
    }
}

/// A load balancer's addresses belong to Services that have one.
pub(super) fn status_update(new: &Value, errors: &mut FieldErrors) {
    let balancer = at(new, &["status", "loadBalancer"]);
    if text(at(new, &["spec"]), "type") != "LoadBalancer" && !empty(balancer, "ingress") {
        let status = Path::new("status");
        let path = status.child("loadBalancer");
        errors.forbidden(&path.child("ingress"), "may only be used when `spec.type` is \"LoadBalancer\"");
    }
}

//! Network policies, IP addresses and service ranges.

use ipnet::IpNet;
use serde_json::Value;

use super::addresses;
use super::get::{empty, field, in_range, int, list, named, required_name, strings, text};
use super::selector::label_selector;
use crate::meta::{at, dns1123_subdomain, path_segment, port_name};
use crate::status::{FieldErrors, PARENT_REFERENCE, Path};

const NOT_A_RANGE: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// NetworkPolicy.
pub(super) fn network_policy(object: &Value, errors: &mut FieldErrors) {
    let spec = at(object, &["spec"]);
    let path = Path::new("spec");
    label_selector(at(spec, &["podSelector"]), &path.child("podSelector"), errors);
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        for (index, rule) in list(spec, direction).iter().enumerate() {
            let path = path.child(direction);
            let path = path.index(index);
            for (at, port) in list(rule, "ports").iter().enumerate() {
                self::port(port, &path.child("ports").index(at), errors);
            }
            for (at, peer) in list(rule, peers).iter().enumerate() {
                self::peer(peer, &path.child(peers).index(at), errors);
            }
        }
    }
    let types: Vec<&str> = strings(spec, "policyTypes").collect();
    if types.len() > 2 {
        errors.invalid(
            &path.child("policyTypes"),
            spec["policyTypes"].clone(),
            "may not specify more than two policyTypes",
        );
        return;
    }
    for (index, kind) in types.iter().enumerate() {
        if !matches!(*kind, "Ingress" | "Egress") {
            let path = path.child("policyTypes");
            errors.unsupported_as_listed(&path.index(index), *kind, &["Ingress", "Egress"]);
        }
    }
}

fn port(port: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let protocols = ["TCP", "UDP", "SCTP"];
    if let Some(other) = field(port, "protocol").and_then(Value::as_str).filter(|own| !protocols.contains(own)) {
        errors.unsupported_as_listed(&path.child("protocol"), other, &protocols);
    }
    let here = path.child("port");
    let end = int(port, "endPort");
    match field(port, "port") {
        Some(Value::String(name)) => {
            named(errors, &here, name, port_name(name));
            if let Some(end) = end {
                errors.invalid(&path.child("endPort"), end, "may not be specified when `port` is non-numeric");
            }
        }
        Some(number) => {
            let number = number.as_i64().unwrap_or(0);
            in_range(errors, &here, number, 1, 65535);
            if let Some(end) = end {
                if end < number {
                    errors.invalid(&path.child("endPort"), end, "must be greater than or equal to `port`");
                }
                in_range(errors, &path.child("endPort"), end, 1, 65535);
            }
        }
        None => {
            if let Some(end) = end {
                errors.invalid(&path.child("endPort"), end, "may not be specified when `port` is not specified");
            }
        }
    }
}

fn peer(peer: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let mut kinds = 0;
    for key in ["podSelector", "namespaceSelector"] {
        if let Some(selector) = field(peer, key) {
            kinds += 1;
            label_selector(selector, &path.child(key), errors);
        }
    }
    if let Some(block) = field(peer, "ipBlock") {
        if kinds > 0 {
            errors.forbidden(path, "may not specify both ipBlock and another peer");
        }
        kinds += 1;
        ip_block(block, &path.child("ipBlock"), errors);
    }
    if kinds == 0 {
        errors.required(path, "must specify a peer");
    }
}

fn ip_block(block: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let range = text(block, "cidr");
    if range.is_empty() {
        errors.required(&path.child("cidr"), "");
        return;
    }
    let Some(range) = addresses::range(range, &path.child("cidr"), errors) else { return };
    for (index, except) in strings(block, "except").enumerate() {
        let path = path.child("except");
        let path = path.index(index);
        let inner = addresses::range(except, &path, errors);
        if inner.is_some_and(|inner| !range.contains(&inner) || inner.prefix_len() <= range.prefix_len()) {
            errors.invalid(&path, except, "must be a strict subset of `cidr`");
        }
    }
}

/// IPAddress: says what it belongs to.
pub(super) fn ip_address(object: &Value, errors: &mut FieldErrors) {
    let parent = at(object, &["spec", "parentRef"]);
    let path = Path::new("spec");
    let path = path.child("parentRef");
    if parent.is_null() {
        errors.required(&path, "");
        return;
    }
    let (group, namespace) = (text(parent, "group"), text(parent, "namespace"));
    if !group.is_empty() {
        named(errors, &path.child("group"), group, dns1123_subdomain(group));
    }
    for key in ["resource", "name"] {
        required_name(errors, &path.child(key), text(parent, key), path_segment);
    }
    named(errors, &path.child("namespace"), namespace, path_segment(namespace));
}

/// What an address belongs to is for ever.
pub(super) fn ip_address_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let [shown, before] = [new, old].map(|object| PARENT_REFERENCE.of(at(object, &["spec", "parentRef"])));
    if shown != before {
        let path = Path::new("spec");
        errors.invalid(&path.child("parentRef"), shown, "field is immutable");
    }
}

/// ServiceCIDR: one range, or one of each family.
pub(super) fn service_cidr(object: &Value, errors: &mut FieldErrors) {
    let spec = at(object, &["spec"]);
    let path = Path::new("spec");
    let path = path.child("cidrs");
    if empty(spec, "cidrs") {
        errors.required(&path, "at least one CIDR required");
        return;
    }
    let ranges: Vec<&str> = strings(spec, "cidrs").collect();
    if ranges.len() > 2 {
        errors.invalid(&path, serde_json::json!({"CIDRs": ranges}), "may only hold up to 2 values");
        return;
    }
    let parsed: Vec<Option<IpNet>> = ranges.iter().map(|r| r.parse().ok()).collect();
    let alike = match parsed.as_slice() {
        [Some(a), Some(b)] => a.addr().is_ipv4() == b.addr().is_ipv4(),
        both => both.len() == 2,
    };
    if alike {
        let why = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        return errors.invalid(&path, serde_json::json!({"CIDRs": ranges}), why);
    }
    for (index, (range, parsed)) in ranges.iter().zip(&parsed).enumerate() {
        match parsed {
            None => errors.invalid(&path.index(index), *range, NOT_A_RANGE),
            Some(net) => canonical(range, net, &path.index(index), errors),
        }
    }
}

/// A range is written in one way only.
fn canonical(range: &str, net: &IpNet, path: &Path<'_>, errors: &mut FieldErrors) {
    if matches!(net, IpNet::V6(net) if net.addr().to_ipv4_mapped().is_some()) {
        errors.invalid(path, range, "must not have an IPv4-mapped IPv6 address");
    } else if net.trunc() != *net {
        errors.invalid(path, range, "must not have bits set beyond the prefix length");
    } else if net.to_string() != range {
        errors.invalid(path, range, format!("must be in canonical form ({:?})", net.to_string()));
    }
}

/// A ServiceCIDR may gain the other family, nothing else.
pub(super) fn service_cidr_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let ranges =
        |object: &Value| -> Vec<String> { strings(at(object, &["spec"]), "cidrs").map(str::to_owned).collect() };
    let (new, old) = (ranges(new), ranges(old));
    let path = Path::new("spec");
    let path = path.child("cidrs");
    let grows = old.len() == 1 && new.len() == 2;
    if new.len() != old.len() && !grows {
        errors.invalid(&path, serde_json::json!(new), "field is immutable");
        return;
    }
    for (index, (now, before)) in new.iter().zip(&old).enumerate() {
        if now != before {
            errors.invalid(&path.index(index), now.as_str(), "field is immutable");
        }
    }
}

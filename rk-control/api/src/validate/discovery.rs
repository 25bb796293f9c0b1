//! EndpointSlices and Endpoints.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::Value;

use super::addresses;
use super::get::{empty, field, immutable, in_range, int, list, named, one_of, strings, text, word_of};
use crate::meta::{dns1123_label, dns1123_subdomain, label_value, qualified_name};
use crate::status::{FieldErrors, Path};

const MAX_ENDPOINTS: usize = 1000;
const MAX_ADDRESSES: usize = 100;
const MAX_PORTS: usize = 20_000;
const MAX_HINTS: usize = 8;
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

/// EndpointSlice.
pub(super) fn endpoint_slice(object: &Value, errors: &mut FieldErrors) {
    let kind = text(object, "addressType");
    let path = Path::new("addressType");
    one_of(errors, &path, kind, &["FQDN", "IPv4", "IPv6"], true);
    let endpoints = list(object, "endpoints");
    if endpoints.len() > MAX_ENDPOINTS {
        errors.too_many(&Path::new("endpoints"), endpoints.len(), MAX_ENDPOINTS);
        return;
    }
    for (index, endpoint) in endpoints.iter().enumerate() {
        let path = Path::new("endpoints");
        self::endpoint(endpoint, kind, &path.index(index), errors);
    }
    ports(object, errors);
}

fn endpoint(endpoint: &Value, kind: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    let addresses = list(endpoint, "addresses");
    let here = path.child("addresses");
    if addresses.is_empty() {
        errors.required(&here, "must contain at least 1 address");
    } else if addresses.len() > MAX_ADDRESSES {
        errors.too_many(&here, addresses.len(), MAX_ADDRESSES);
    }
    for (index, address) in strings(endpoint, "addresses").enumerate() {
        let here = here.index(index);
        match kind {
            "IPv4" | "IPv6" => ip(address, kind, &here, errors),
            "FQDN" => domain_name(address, &here, errors),
            _ => {}
        }
    }
    if let Some(node) = field(endpoint, "nodeName").and_then(Value::as_str) {
        named(errors, &path.child("nodeName"), node, dns1123_subdomain(node));
    }
    if let Some(host) = field(endpoint, "hostname").and_then(Value::as_str) {
        named(errors, &path.child("hostname"), host, dns1123_label(host));
    }
    if let Some(hints) = field(endpoint, "hints") {
        let path = path.child("hints");
        self::hints(list(hints, "forZones"), label_value, &path.child("forZones"), errors);
        self::hints(list(hints, "forNodes"), dns1123_subdomain, &path.child("forNodes"), errors);
    }
}

/// Where traffic to an endpoint should come from: names of zones or nodes.
fn hints(hints: &[Value], rules: fn(&str) -> Vec<String>, path: &Path<'_>, errors: &mut FieldErrors) {
    if hints.len() > MAX_HINTS {
        errors.too_many(path, hints.len(), MAX_HINTS);
        return;
    }
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for (index, hint) in hints.iter().enumerate() {
        let path = path.index(index);
        let name = text(hint, "name");
        if !seen.insert(name) {
            errors.duplicate(&path.child("name"), name);
        }
        named(errors, &path.child("name"), name, rules(name));
    }
}

/// A name of at least two labels, with or without the dot at its end.
fn domain_name(address: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    let name = address.strip_suffix('.').unwrap_or(address);
    let why = dns1123_subdomain(name);
    if address.is_empty() {
        errors.required(path, "");
    } else if !why.is_empty() {
        errors.invalid(path, name, why.join(","));
    } else if !name.contains('.') {
        errors.invalid(path, name, "should be a domain with at least two segments separated by dots");
    } else {
        for label in name.split('.') {
            named(errors, path, label, dns1123_label(label));
        }
    }
}

/// The address of an endpoint; of any family unless one is named.
fn ip(address: &str, family: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    let Some(read) = addresses::address(address, path, errors) else {
        return errors.invalid(path, address, "must be a valid IP address");
    };
    if !family.is_empty() && read.to_canonical().is_ipv4() != (family == "IPv4") {
        errors.invalid(path, address, format!("must be an {family} address"));
    }
    special(address, path, errors);
}

/// Addresses that reach the node itself, or everyone, are no endpoints.
pub(super) fn special(address: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    let Ok(ip) = address.parse::<IpAddr>() else { return };
    if ip.is_unspecified() {
        errors.invalid(path, address, format!("may not be unspecified ({address})"));
    }
    if ip.is_loopback() {
        errors.invalid(path, address, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
    }
    let link_local = match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.segments().first().is_some_and(|s| s & 0xffc0 == 0xfe80),
    };
    if link_local {
        errors.invalid(path, address, "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    }
    let multicast = match ip {
        IpAddr::V4(v4) => v4.octets().starts_with(&[224, 0, 0]),
        IpAddr::V6(v6) => v6.segments().first().is_some_and(|s| s & 0xff0f == 0xff02),
    };
    if multicast {
        errors.invalid(path, address, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)");
    }
}

fn ports(object: &Value, errors: &mut FieldErrors) {
    let path = Path::new("ports");
    let all = list(object, "ports");
    if all.len() > MAX_PORTS {
        errors.too_many(&path, all.len(), MAX_PORTS);
        return;
    }
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for (index, port) in all.iter().enumerate() {
        let path = path.index(index);
        let name = text(port, "name");
        if !name.is_empty() {
            named(errors, &path.child("name"), name, dns1123_label(name));
        }
        if !names.insert(name) {
            errors.duplicate(&path.child("name"), name);
        }
        word_of(errors, &path, port, "protocol", &PROTOCOLS);
        if let Some(app) = field(port, "appProtocol").and_then(Value::as_str) {
            named(errors, &path.child("appProtocol"), app, qualified_name(app));
        }
    }
}

/// The kind of addresses is for ever.
pub(super) fn endpoint_slice_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    immutable(errors, &Path::new("addressType"), new.get("addressType"), old.get("addressType"));
}

/// Endpoints.
pub(super) fn endpoints(object: &Value, errors: &mut FieldErrors) {
    let subsets = Path::new("subsets");
    for (index, subset) in list(object, "subsets").iter().enumerate() {
        let path = subsets.index(index);
        if empty(subset, "addresses") && empty(subset, "notReadyAddresses") {
            errors.required(&path, "must specify `addresses` or `notReadyAddresses`");
        }
        for kind in ["addresses", "notReadyAddresses"] {
            for (at, address) in list(subset, kind).iter().enumerate() {
                let path = path.child(kind);
                let path = path.index(at);
                ip(text(address, "ip"), "", &path.child("ip"), errors);
                let host = text(address, "hostname");
                if !host.is_empty() {
                    named(errors, &path.child("hostname"), host, dns1123_label(host));
                }
                if let Some(node) = field(address, "nodeName").and_then(Value::as_str) {
                    named(errors, &path.child("nodeName"), node, dns1123_subdomain(node));
                }
            }
        }
        let many = list(subset, "ports").len() > 1;
        for (at, port) in list(subset, "ports").iter().enumerate() {
            let path = path.child("ports");
            let path = path.index(at);
            let name = text(port, "name");
            if name.is_empty() && many {
                errors.required(&path.child("name"), "");
            } else if !name.is_empty() {
                named(errors, &path.child("name"), name, dns1123_label(name));
            }
            in_range(errors, &path.child("port"), int(port, "port").unwrap_or(0), 1, 65535);
            one_of(errors, &path.child("protocol"), text(port, "protocol"), &PROTOCOLS, true);
            if let Some(app) = field(port, "appProtocol").and_then(Value::as_str) {
                named(errors, &path.child("appProtocol"), app, qualified_name(app));
            }
        }
    }
}

//! Ingresses and ingress classes.

use serde_json::Value;

use super::addresses::{address, lenient};
use super::get::{empty, field, in_range, int, list, named, required_name, strings, text};
use crate::meta::{
    at, dns1123_label, dns1123_subdomain, domain_prefixed_path, path_segment, port_name, wildcard_dns1123_subdomain,
};
use crate::status::{FieldErrors, Path};

/// Ingress.
pub(super) fn ingress(object: &Value, errors: &mut FieldErrors) {
    let spec = at(object, &["spec"]);
    let path = Path::new("spec");
    if empty(spec, "rules") && field(spec, "defaultBackend").is_none() {
        // Upstream shows its list of rules, and one that is not there without quotes.
        errors.invalid_unshown(&path, "null: either `defaultBackend` or `rules` must be specified");
    }
    if let Some(backend) = field(spec, "defaultBackend") {
        self::backend(backend, &path.child("defaultBackend"), errors);
    }
    for (index, rule) in list(spec, "rules").iter().enumerate() {
        let path = path.child("rules");
        let path = path.index(index);
        host(text(rule, "host"), &path.child("host"), errors);
        if let Some(http) = field(rule, "http") {
            let path = path.child("http");
            if empty(http, "paths") {
                errors.required(&path.child("paths"), "");
            }
            for (at, entry) in list(http, "paths").iter().enumerate() {
                http_path(entry, &path.child("paths").index(at), errors);
            }
        }
    }
    for (index, tls) in list(spec, "tls").iter().enumerate() {
        let path = path.child("tls");
        let path = path.index(index);
        for (at, host) in strings(tls, "hosts").enumerate() {
            host_name(host, &path.child("hosts").index(at), errors);
        }
        let secret = text(tls, "secretName");
        if !secret.is_empty() {
            named(errors, &path.child("secretName"), secret, dns1123_subdomain(secret));
        }
    }
    if let Some(class) = field(spec, "ingressClassName").and_then(Value::as_str) {
        named(errors, &path.child("ingressClassName"), class, dns1123_subdomain(class));
    }
}

/// A new Ingress names its class in one way.
pub(super) fn create(object: &Value, errors: &mut FieldErrors) {
    let annotation = at(object, &["metadata", "annotations", "kubernetes.io/ingress.class"]);
    let class = field(at(object, &["spec"]), "ingressClassName");
    if !annotation.is_null() && class.is_some_and(|class| class != annotation) {
        let annotations = Path::new("annotations");
        let why = "must match `ingressClassName` when both are specified";
        errors.invalid(&annotations.child("kubernetes.io/ingress.class"), annotation.clone(), why);
    }
}

fn host(host: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    if host.is_empty() {
        return;
    }
    no_address(host, path, errors);
    host_name(host, path, errors);
}

fn no_address(host: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    if lenient(host).is_some() {
        errors.invalid(path, host, "must be a DNS name, not an IP address");
    }
}

fn host_name(host: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    let rules = if host.contains('*') { wildcard_dns1123_subdomain } else { dns1123_subdomain };
    named(errors, path, host, rules(host));
}

fn http_path(entry: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let target = text(entry, "path");
    let here = path.child("path");
    let Some(kind) = field(entry, "pathType").and_then(Value::as_str) else {
        return errors.required(&path.child("pathType"), "pathType must be specified");
    };
    match kind {
        "Exact" | "Prefix" => {
            if !target.starts_with('/') {
                errors.invalid(&here, target, "must be an absolute path");
            }
            for part in ["//", "/./", "/../", "%2f", "%2F"] {
                if target.contains(part) {
                    errors.invalid(&here, target, format!("must not contain '{part}'"));
                }
            }
            for end in ["/..", "/."] {
                if target.ends_with(end) {
                    errors.invalid(&here, target, format!("cannot end with '{end}'"));
                }
            }
        }
        "ImplementationSpecific" => {
            if !target.is_empty() && !target.starts_with('/') {
                errors.invalid(&here, target, "must be an absolute path");
            }
        }
        other => errors.unsupported(&path.child("pathType"), other, &["Exact", "ImplementationSpecific", "Prefix"]),
    }
    backend(at(entry, &["backend"]), &path.child("backend"), errors);
}

fn backend(backend: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    match (field(backend, "resource"), field(backend, "service")) {
        (Some(_), Some(_)) => errors.invalid(path, "", "cannot set both resource and service backends"),
        (Some(resource), None) => reference(resource, &path.child("resource"), errors),
        (None, None) => errors.invalid(path, "", "resource or service backend is required"),
        (None, Some(service)) => {
            let here = path.child("service");
            required_name(errors, &here.child("name"), text(service, "name"), dns1123_label);
            let port = at(service, &["port"]);
            let (name, number) = (text(port, "name"), int(port, "number").unwrap_or(0));
            let here = here.child("port");
            match (name.is_empty(), number) {
                (false, n) if n != 0 => errors.invalid(path, "", "cannot set both port name & port number"),
                (false, _) => named(errors, &here.child("name"), name, port_name(name)),
                (true, 0) => errors.required(path, "port name or number is required"),
                (true, number) => in_range(errors, &here.child("number"), number, 1, 65535),
            }
        }
    }
}

/// Another object: its group, kind and name.
fn reference(object: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    if let Some(group) = field(object, "apiGroup").and_then(Value::as_str) {
        named(errors, &path.child("apiGroup"), group, dns1123_subdomain(group));
    }
    for (key, missing) in [("kind", "kind is required"), ("name", "name is required")] {
        match text(object, key) {
            "" => errors.required(&path.child(key), missing),
            value => named(errors, &path.child(key), value, path_segment(value)),
        }
    }
}

/// Addresses and names at which an Ingress is reached.
pub(super) fn status_update(new: &Value, errors: &mut FieldErrors) {
    let status = Path::new("status");
    let balancer = status.child("loadBalancer");
    for (index, ingress) in list(at(new, &["status", "loadBalancer"]), "ingress").iter().enumerate() {
        let path = balancer.child("ingress");
        let path = path.index(index);
        let (ip, name) = (text(ingress, "ip"), text(ingress, "hostname"));
        if !ip.is_empty() {
            address(ip, &path.child("ip"), errors);
        }
        if !name.is_empty() {
            named(errors, &path.child("hostname"), name, dns1123_subdomain(name));
            no_address(name, &path.child("hostname"), errors);
        }
    }
}

/// IngressClass.
pub(super) fn class(object: &Value, errors: &mut FieldErrors) {
    let spec = at(object, &["spec"]);
    let path = Path::new("spec");
    let controller = text(spec, "controller");
    if controller.len() > 250 {
        errors.too_long(&path.child("controller"), 250);
    }
    let here = path.child("controller");
    required_name(errors, &here, controller, domain_prefixed_path);
    let Some(parameters) = field(spec, "parameters") else { return };
    let path = path.child("parameters");
    reference(parameters, &path, errors);
    let here = path.child("namespace");
    match (text(parameters, "scope"), field(parameters, "namespace").and_then(Value::as_str)) {
        ("Cluster", Some(_)) => errors.forbidden(&here, "`parameters.scope` is set to 'Cluster'"),
        ("Cluster", None) => {}
        ("Namespace", None) => errors.required(&here, "`parameters.scope` is set to 'Namespace'"),
        ("Namespace", Some(namespace)) => named(errors, &here, namespace, dns1123_label(namespace)),
        (scope, _) => errors.unsupported(&path.child("scope"), scope, &["Cluster", "Namespace"]),
    }
}

/// The controller of a class is for ever.
pub(super) fn class_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let path = Path::new("spec");
    let (new, old) = (at(new, &["spec"]), at(old, &["spec"]));
    super::get::immutable(errors, &path.child("controller"), field(new, "controller"), field(old, "controller"));
}

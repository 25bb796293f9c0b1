//! Probes and lifecycle hooks.

use serde_json::Value;

use super::super::get::{empty, field, in_range, int, list, non_negative, one_of, port_or_name, text};
use crate::status::{FieldErrors, Path};

/// The three probes of a container.
pub(super) fn probes(container: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = field(container, name) else { continue };
        let path = path.child(name);
        handler(probe, &path, errors);
        for key in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
            non_negative(errors, &path.child(key), int(probe, key));
        }
        if let Some(grace) = int(probe, "terminationGracePeriodSeconds") {
            if name == "readinessProbe" {
                errors.invalid(
                    &path.child("terminationGracePeriodSeconds"),
                    grace,
                    "must not be set for readinessProbes",
                );
            }
            if grace <= 0 {
                errors.invalid(&path.child("terminationGracePeriodSeconds"), grace, "must be greater than 0");
            }
        }
        let successes = int(probe, "successThreshold").unwrap_or(1);
        if name != "readinessProbe" && successes != 1 {
            errors.invalid(&path.child("successThreshold"), successes, "must be 1");
        }
    }
}

/// A lifecycle hook; one that sleeps wakes before the pod's grace is over (KEP-3960).
pub(super) fn hook(hook: &Value, spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    handler(hook, path, errors);
    let (seconds, grace) =
        (int(field(hook, "sleep").unwrap_or(&Value::Null), "seconds"), int(spec, "terminationGracePeriodSeconds"));
    if let (Some(seconds), Some(grace)) = (seconds, grace)
        && !(0..=grace).contains(&seconds)
    {
        let why = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        errors.invalid(&path.child("sleep"), seconds, why);
    }
}

/// What a probe or hook does: exactly one thing.
pub(super) fn handler(handler: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let mut handlers = 0;
    for kind in ["exec", "httpGet", "tcpSocket", "grpc", "sleep"] {
        let Some(action) = field(handler, kind) else { continue };
        handlers += 1;
        if handlers > 1 {
            errors.forbidden(&path.child(kind), "may not specify more than 1 handler type");
            continue;
        }
        let path = path.child(kind);
        match kind {
            "exec" if empty(action, "command") => errors.required(&path.child("command"), ""),
            "httpGet" => http_get(action, &path, errors),
            "tcpSocket" => port_or_name(errors, &path.child("port"), &action["port"]),
            "grpc" => in_range(errors, &path.child("port"), int(action, "port").unwrap_or(0), 1, 65535),
            _ => {}
        }
    }
    if handlers == 0 {
        errors.required(path, "must specify a handler type");
    }
}

fn http_get(action: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    if text(action, "path").is_empty() {
        errors.required(&path.child("path"), "");
    }
    port_or_name(errors, &path.child("port"), &action["port"]);
    one_of(errors, &path.child("scheme"), text(action, "scheme"), &["HTTP", "HTTPS"], false);
    for header in list(action, "httpHeaders") {
        let name = text(header, "name");
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            let why = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for \
                       validation is '[-A-Za-z0-9]+')";
            errors.invalid(&path.child("httpHeaders"), name, why);
        }
    }
}

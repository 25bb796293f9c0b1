//! Webhook configurations, and what they share with admission policies. Expressions are checked by those who compile them.

use std::collections::BTreeSet;

use serde_json::Value;

use super::get::{empty, field, int, list, named, strings, text, word_of};
use super::selector::label_selector;
use crate::meta::{at, dns1035_label, dns1123_subdomain, path_segment, qualified_name};
use crate::status::{FieldErrors, Path};

const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const MAX_CONDITIONS: usize = 64;

/// MutatingWebhookConfiguration and ValidatingWebhookConfiguration.
pub(super) fn webhooks(object: &Value, errors: &mut FieldErrors) {
    let all = Path::new("webhooks");
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for (index, webhook) in list(object, "webhooks").iter().enumerate() {
        let path = all.index(index);
        let name = text(webhook, "name");
        webhook_name(name, &path.child("name"), errors);
        rules(webhook, "rules", &path, errors);
        if field(webhook, "sideEffects").is_none() {
            errors.required(&path.child("sideEffects"), "must specify one of None, NoneOnDryRun");
        }
        for (key, words) in [
            ("failurePolicy", ["Fail", "Ignore"]),
            ("matchPolicy", ["Equivalent", "Exact"]),
            ("reinvocationPolicy", ["IfNeeded", "Never"]),
            ("sideEffects", ["None", "NoneOnDryRun"]),
        ] {
            word_of(errors, &path, webhook, key, &words);
        }
        if let Some(seconds) = int(webhook, "timeoutSeconds").filter(|s| !(1..=30).contains(s)) {
            let why = "the timeout value must be between 1 and 30 seconds";
            errors.invalid(&path.child("timeoutSeconds"), seconds, why);
        }
        for key in ["namespaceSelector", "objectSelector"] {
            if let Some(selector) = field(webhook, key) {
                label_selector(selector, &path.child(key), errors);
            }
        }
        client_config(at(webhook, &["clientConfig"]), &path.child("clientConfig"), errors);
        match_conditions(webhook, &path, errors);
        review_versions(webhook, "admissionReviewVersions", "must specify one of v1, v1beta1", &path, errors);
        if !name.is_empty() && names.contains(&name) {
            errors.duplicate(&path.child("name"), name);
        }
        names.insert(name);
    }
}

/// The AdmissionReview versions that a webhook understands, one of which this server sends. `missing` is the message when there are none.
pub(super) fn review_versions(holder: &Value, key: &str, missing: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    let path = path.child(key);
    let versions: Vec<&str> = strings(holder, key).collect();
    if versions.is_empty() {
        return errors.required(&path, missing);
    }
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for (index, version) in versions.iter().enumerate() {
        if !seen.insert(version) {
            errors.invalid(&path.index(index), *version, "duplicate version");
        } else {
            named(errors, &path.index(index), version, dns1035_label(version));
        }
    }
    if !versions.iter().any(|version| matches!(*version, "v1" | "v1beta1")) {
        errors.invalid(&path, at(holder, &[key]).clone(), "must include at least one of v1, v1beta1");
    }
}

/// At least three parts, so that names of different owners do not meet.
fn webhook_name(name: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    if name.is_empty() {
        errors.required(path, "");
        return;
    }
    let broken = dns1123_subdomain(name);
    if broken.is_empty() && name.split('.').count() < 3 {
        errors.invalid(path, name, "should be a domain with at least three segments separated by dots");
    }
    named(errors, path, name, broken);
}

/// What must hold before a webhook or policy is asked.
pub(super) fn match_conditions(holder: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let all = path.child("matchConditions");
    let conditions = list(holder, "matchConditions");
    if conditions.len() > MAX_CONDITIONS {
        errors.too_many(&all, conditions.len(), MAX_CONDITIONS);
    }
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for (index, condition) in conditions.iter().enumerate() {
        let path = all.index(index);
        if text(condition, "expression").trim().is_empty() {
            errors.required(&path.child("expression"), "");
        }
        let name = text(condition, "name");
        if name.is_empty() {
            errors.required(&path.child("name"), "");
            continue;
        }
        named(errors, &path.child("name"), name, qualified_name(name));
        if !names.insert(name) {
            errors.duplicate(&path.child("name"), name);
        }
    }
}

/// Where a webhook is: at a URL or behind a service.
pub(super) fn client_config(config: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    match (field(config, "url").and_then(Value::as_str), field(config, "service")) {
        (Some(_), Some(_)) | (None, None) => errors.required(path, "exactly one of url or service is required"),
        (Some(url), None) => self::url(url, &path.child("url"), errors),
        (None, Some(service)) => self::service(service, &path.child("service"), errors),
    }
}

/// A URL with a host and a path, and nothing more.
fn url(url: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    let (before, fragment) = url.split_once('#').unwrap_or((url, ""));
    let (before, query) = before.split_once('?').unwrap_or((before, ""));
    let (scheme, rest) = before.split_once(':').unwrap_or(("", before));
    let authority = rest.strip_prefix("//").and_then(|rest| rest.split('/').next()).unwrap_or_default();
    let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
    if !scheme.eq_ignore_ascii_case("https") {
        let why = "'https' is the only allowed URL scheme; desired format: https://host[/path]";
        errors.invalid(path, scheme, why);
    }
    if host.is_empty() {
        errors.invalid(path, host, "host must be provided; desired format: https://host[/path]");
    }
    if let Some(user) = user {
        errors.invalid(path, user, "user information is not permitted in the URL");
    }
    if !fragment.is_empty() {
        errors.invalid(path, fragment, "fragments are not permitted in the URL");
    }
    if !query.is_empty() {
        errors.invalid(path, query, "query parameters are not permitted in the URL");
    }
}

/// The port of a service that is called.
pub(super) fn port(port: i64, path: &Path<'_>, errors: &mut FieldErrors) {
    for why in crate::meta::port_number(port) {
        errors.invalid(path, port, format!("port is not valid: {why}"));
    }
}

/// A reference to a service that answers for the server.
pub(super) fn service(service: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    if text(service, "name").is_empty() {
        errors.required(&path.child("name"), "");
    }
    if text(service, "namespace").is_empty() {
        errors.required(&path.child("namespace"), "");
    }
    if let Some(port) = int(service, "port") {
        self::port(port, &path.child("port"), errors);
    }
    if let Some(target) = field(service, "path").and_then(Value::as_str) {
        service_path(target, &path.child("path"), errors);
    }
}

/// What is called on the service: nothing, or segments that are each a DNS-1123 subdomain.
fn service_path(target: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    if matches!(target, "" | "/") {
        return;
    }
    if !target.starts_with('/') {
        errors.invalid(path, target, "must start with a '/'");
    }
    // Upstream looks at what follows the first character, whatever that is.
    let mut rest = target.chars();
    rest.next();
    let rest = rest.as_str();
    if target == "//" {
        return errors.invalid(path, target, "segment[0] may not be empty");
    }
    for (index, segment) in rest.strip_suffix('/').unwrap_or(rest).split('/').enumerate() {
        if segment.is_empty() {
            errors.invalid(path, target, format!("segment[{index}] may not be empty"));
            continue;
        }
        for complaint in dns1123_subdomain(segment) {
            errors.invalid(path, target, format!("segment[{index}]: {complaint}"));
        }
    }
}

/// What a webhook or policy is about.
pub(super) fn rules(holder: &Value, key: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    for (index, rule) in list(holder, key).iter().enumerate() {
        let path = path.child(key);
        let path = path.index(index);
        let mut names: BTreeSet<&str> = BTreeSet::new();
        for (at, name) in strings(rule, "resourceNames").enumerate() {
            named(errors, &path.child("resourceNames").index(at), name, path_segment(name));
            if !names.insert(name) {
                errors.duplicate(&path.child("resourceNames").index(at), name);
            }
        }
        for (list, what) in [("operations", "operations"), ("apiGroups", "API groups"), ("apiVersions", "API versions")]
        {
            let path = path.child(list);
            if empty(rule, list) {
                errors.required(&path, "");
            }
            let values: Vec<&str> = strings(rule, list).collect();
            if values.len() > 1 && values.contains(&"*") {
                let why = format!("if '*' is present, must not specify other {what}");
                errors.invalid(&path, at(rule, &[list]).clone(), why);
            }
        }
        for (at, operation) in strings(rule, "operations").enumerate() {
            if !OPERATIONS.contains(&operation) {
                errors.unsupported(&path.child("operations").index(at), operation, &OPERATIONS);
            }
        }
        for (at, _) in strings(rule, "apiVersions").enumerate().filter(|(_, version)| version.is_empty()) {
            errors.required(&path.child("apiVersions").index(at), "");
        }
        resources(rule, &path.child("resources"), errors);
        word_of(errors, &path, rule, "scope", &["*", "Cluster", "Namespaced"]);
    }
}

/// Resources and their subresources; a wildcard stands for what is not said besides.
fn resources(rule: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let all: Vec<&str> = strings(rule, "resources").collect();
    if all.is_empty() {
        errors.required(path, "");
    }
    let (mut every_part_of, mut part_of_every): (BTreeSet<&str>, BTreeSet<&str>) = Default::default();
    let mut whole = false;
    for (index, own) in all.iter().copied().enumerate() {
        let path = path.index(index);
        if own.is_empty() {
            errors.required(&path, "");
            continue;
        }
        let Some((resource, part)) = own.split_once('/') else {
            // The last one counts, as upstream has it.
            whole = own != "*";
            continue;
        };
        if every_part_of.contains(&resource) {
            errors.invalid(&path, own, format!("if '{resource}/*' is present, must not specify {own}"));
        }
        if part_of_every.contains(&part) {
            errors.invalid(&path, own, format!("if '*/{part}' is present, must not specify {own}"));
        }
        if part == "*" {
            every_part_of.insert(resource);
        }
        if resource == "*" {
            part_of_every.insert(part);
        }
    }
    let shown = || at(rule, &["resources"]).clone();
    if all.len() > 1 && all.contains(&"*/*") {
        errors.invalid(path, shown(), "if '*/*' is present, must not specify other resources");
    }
    if all.contains(&"*") && whole {
        let why = "if '*' is present, must not specify other resources without subresources";
        errors.invalid(path, shown(), why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_a_service_is_empty_or_made_of_names() {
        for (target, complaint) in [
            ("", ""),
            ("/", ""),
            ("/a", ""),
            ("/a/b.c/", ""),
            ("a", "must start with a '/'"),
            ("//", "segment[0] may not be empty"),
            ("/a//b", "segment[1] may not be empty"),
            ("/a/B", "segment[1]: a lowercase RFC 1123 subdomain must consist of"),
        ] {
            let mut errors = FieldErrors::default();
            service_path(target, &Path::new("path"), &mut errors);
            let told = errors.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            assert_eq!(told.is_empty(), complaint.is_empty(), "{target}: {told}");
            assert!(told.contains(complaint), "{target}: {told}");
        }
    }
}

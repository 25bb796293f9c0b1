//! Webhook configurations and admission policies. Expressions are checked by those who compile them.

use serde_json::Value;

use super::get::{empty, field, in_range, int, list, named, one_of, required_name, strings, text};
use super::selector::label_selector;
use crate::meta::{at, dns1123_label, dns1123_subdomain, qualified_name};
use crate::status::{FieldErrors, Path};

const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const MAX_CONDITIONS: usize = 64;

/// MutatingWebhookConfiguration and ValidatingWebhookConfiguration.
pub(super) fn webhooks(object: &Value, errors: &mut FieldErrors) {
    let all = Path::new("webhooks");
    let mut names: Vec<&str> = Vec::new();
    for (index, webhook) in list(object, "webhooks").iter().enumerate() {
        let path = all.index(index);
        let name = text(webhook, "name");
        webhook_name(name, &path.child("name"), errors);
        if names.contains(&name) {
            errors.duplicate(&path.child("name"), name);
        }
        names.push(name);
        rules(webhook, "rules", &path, errors);
        one_of(errors, &path.child("failurePolicy"), text(webhook, "failurePolicy"), &["Fail", "Ignore"], false);
        one_of(errors, &path.child("matchPolicy"), text(webhook, "matchPolicy"), &["Equivalent", "Exact"], false);
        one_of(
            errors,
            &path.child("reinvocationPolicy"),
            text(webhook, "reinvocationPolicy"),
            &["IfNeeded", "Never"],
            false,
        );
        match text(webhook, "sideEffects") {
            "" => errors.required(&path.child("sideEffects"), "must specify one of None, NoneOnDryRun"),
            other => one_of(errors, &path.child("sideEffects"), other, &["None", "NoneOnDryRun"], true),
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
        let versions = path.child("admissionReviewVersions");
        if empty(webhook, "admissionReviewVersions") {
            errors.required(&versions, "must specify one of v1, v1beta1");
        } else if !strings(webhook, "admissionReviewVersions").any(|v| matches!(v, "v1" | "v1beta1")) {
            let why = "must include at least one of v1, v1beta1";
            errors.invalid(&versions, webhook["admissionReviewVersions"].clone(), why);
        }
        match_conditions(webhook, &path, errors);
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

fn match_conditions(holder: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let all = path.child("matchConditions");
    let conditions = list(holder, "matchConditions");
    if conditions.len() > MAX_CONDITIONS {
        errors.too_many(&all, conditions.len(), MAX_CONDITIONS);
    }
    let mut names: Vec<&str> = Vec::new();
    for (index, condition) in conditions.iter().enumerate() {
        let path = all.index(index);
        let name = text(condition, "name");
        required_name(errors, &path.child("name"), name, qualified_name);
        if names.contains(&name) {
            errors.duplicate(&path.child("name"), name);
        }
        names.push(name);
        if text(condition, "expression").trim().is_empty() {
            errors.required(&path.child("expression"), "");
        }
    }
}

fn client_config(config: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    match (field(config, "url").and_then(Value::as_str), field(config, "service")) {
        (Some(_), Some(_)) | (None, None) => errors.required(path, "exactly one of url or service is required"),
        (Some(url), None) => {
            if !url.starts_with("https://") || url.len() <= "https://".len() {
                errors.invalid(
                    &path.child("url"),
                    url,
                    "'https' is the only allowed URL scheme; desired format: https://host[/path]",
                );
            } else if url.contains(['#', '?', '@']) {
                errors.invalid(
                    &path.child("url"),
                    url,
                    "fragments, query parameters and user info are not permitted in the URL",
                );
            }
        }
        (None, Some(service)) => self::service(service, &path.child("service"), errors),
    }
}

/// A reference to a service that answers for the server.
pub(super) fn service(service: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    if text(service, "name").is_empty() {
        errors.required(&path.child("name"), "service name is required");
    }
    if text(service, "namespace").is_empty() {
        errors.required(&path.child("namespace"), "service namespace is required");
    }
    if let Some(port) = int(service, "port") {
        in_range(errors, &path.child("port"), port, 1, 65535);
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
    let Some(rest) = target.strip_prefix('/') else {
        errors.invalid(path, target, "must start with a '/'");
        return;
    };
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

fn rules(holder: &Value, key: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    for (index, rule) in list(holder, key).iter().enumerate() {
        let path = path.child(key);
        let path = path.index(index);
        for (list, what) in [("operations", ""), ("apiGroups", ""), ("apiVersions", ""), ("resources", "")] {
            let path = path.child(list);
            if empty(rule, list) {
                errors.required(&path, what);
            }
            let values: Vec<&str> = strings(rule, list).collect();
            if list != "resources" && values.len() > 1 && values.contains(&"*") {
                errors.invalid(&path, rule[list].clone(), "if '*' is present, must not specify other values");
            }
        }
        for (at, operation) in strings(rule, "operations").enumerate() {
            one_of(errors, &path.child("operations").index(at), operation, &OPERATIONS, true);
        }
        one_of(errors, &path.child("scope"), text(rule, "scope"), &["*", "Cluster", "Namespaced"], false);
    }
}

fn match_resources(resources: &Value, path: &Path<'_>, required: bool, errors: &mut FieldErrors) {
    one_of(errors, &path.child("matchPolicy"), text(resources, "matchPolicy"), &["Equivalent", "Exact"], false);
    for key in ["namespaceSelector", "objectSelector"] {
        if let Some(selector) = field(resources, key) {
            label_selector(selector, &path.child(key), errors);
        }
    }
    if required && empty(resources, "resourceRules") {
        errors.required(&path.child("resourceRules"), "");
    }
    for key in ["resourceRules", "excludeResourceRules"] {
        rules(resources, key, path, errors);
    }
}

fn policy(object: &Value, errors: &mut FieldErrors) {
    let spec = at(object, &["spec"]);
    let path = Path::new("spec");
    one_of(errors, &path.child("failurePolicy"), text(spec, "failurePolicy"), &["Fail", "Ignore"], true);
    if let Some(kind) = field(spec, "paramKind") {
        for key in ["apiVersion", "kind"] {
            if text(kind, key).is_empty() {
                errors.required(&path.child("paramKind").child(key), "");
            }
        }
    }
    match field(spec, "matchConstraints") {
        None => errors.required(&path.child("matchConstraints"), ""),
        Some(resources) => match_resources(resources, &path.child("matchConstraints"), true, errors),
    }
    match_conditions(spec, &path, errors);
    for (index, variable) in list(spec, "variables").iter().enumerate() {
        for key in ["name", "expression"] {
            if text(variable, key).is_empty() {
                let path = path.child("variables");
                errors.required(&path.index(index).child(key), &format!("{key} is not specified"));
            }
        }
    }
}

/// ValidatingAdmissionPolicy.
pub(super) fn validating_policy(object: &Value, errors: &mut FieldErrors) {
    policy(object, errors);
    let spec = at(object, &["spec"]);
    let path = Path::new("spec");
    if empty(spec, "validations") && empty(spec, "auditAnnotations") {
        let why = "validations or auditAnnotations must be non-empty";
        errors.required(&path.child("validations"), &format!("{why}; at least one of them must be set"));
    }
    for (index, validation) in list(spec, "validations").iter().enumerate() {
        let path = path.child("validations");
        let path = path.index(index);
        if text(validation, "expression").trim().is_empty() {
            errors.required(&path.child("expression"), "expression is not specified");
        }
        let reasons = ["Unauthorized", "Forbidden", "Invalid", "RequestEntityTooLarge"];
        one_of(errors, &path.child("reason"), text(validation, "reason"), &reasons, false);
    }
}

/// MutatingAdmissionPolicy.
pub(super) fn mutating_policy(object: &Value, errors: &mut FieldErrors) {
    policy(object, errors);
    let spec = at(object, &["spec"]);
    let path = Path::new("spec");
    one_of(errors, &path.child("reinvocationPolicy"), text(spec, "reinvocationPolicy"), &["IfNeeded", "Never"], true);
    if empty(spec, "mutations") {
        errors.required(&path.child("mutations"), "mutations must contain at least one item");
    }
    for (index, mutation) in list(spec, "mutations").iter().enumerate() {
        let path = path.child("mutations");
        let path = path.index(index);
        let kind = text(mutation, "patchType");
        one_of(errors, &path.child("patchType"), kind, &["ApplyConfiguration", "JSONPatch"], true);
        let own = if kind == "JSONPatch" { "jsonPatch" } else { "applyConfiguration" };
        if text(at(mutation, &[own]), "expression").trim().is_empty() {
            errors.required(&path.child(own).child("expression"), "expression is not specified");
        }
    }
}

fn binding(object: &Value, errors: &mut FieldErrors) {
    let spec = at(object, &["spec"]);
    let path = Path::new("spec");
    required_name(errors, &path.child("policyName"), text(spec, "policyName"), dns1123_subdomain);
    if let Some(reference) = field(spec, "paramRef") {
        let path = path.child("paramRef");
        match (text(reference, "name").is_empty(), field(reference, "selector").is_none()) {
            (true, true) => errors.required(&path, "one of name or selector must be specified"),
            (false, false) => errors.forbidden(&path.child("name"), "name and selector are mutually exclusive"),
            _ => {}
        }
        let action = text(reference, "parameterNotFoundAction");
        one_of(errors, &path.child("parameterNotFoundAction"), action, &["Allow", "Deny"], true);
        let namespace = text(reference, "namespace");
        if !namespace.is_empty() {
            named(errors, &path.child("namespace"), namespace, dns1123_label(namespace));
        }
    }
    if let Some(resources) = field(spec, "matchResources") {
        match_resources(resources, &path.child("matchResources"), false, errors);
    }
}

/// ValidatingAdmissionPolicyBinding.
pub(super) fn validating_binding(object: &Value, errors: &mut FieldErrors) {
    binding(object, errors);
    let spec = at(object, &["spec"]);
    let path = Path::new("spec");
    let path = path.child("validationActions");
    let actions: Vec<&str> = strings(spec, "validationActions").collect();
    if actions.is_empty() {
        errors.required(&path, "at least one validation action is required");
    }
    for (index, action) in actions.iter().enumerate() {
        one_of(errors, &path.index(index), action, &["Audit", "Deny", "Warn"], true);
    }
    if actions.contains(&"Deny") && actions.contains(&"Warn") {
        let why = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers \
                   serves no purpose)";
        errors.invalid(&path, spec["validationActions"].clone(), why);
    }
}

/// MutatingAdmissionPolicyBinding.
pub(super) fn mutating_binding(object: &Value, errors: &mut FieldErrors) {
    binding(object, errors);
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

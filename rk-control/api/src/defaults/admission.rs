//! What extends the server: webhooks, admission policies, custom resources, aggregated APIs.

use serde_json::{Value, json};

use super::edit::{child, default, each, ensure, text, unset};
use crate::Object;

const HTTPS: i64 = 443;

/// MutatingWebhookConfiguration.
pub(super) fn mutating_webhooks(object: &mut Object) {
    for webhook in each(object, "webhooks") {
        self::webhook(webhook);
        default(webhook, "reinvocationPolicy", "Never");
    }
}

/// ValidatingWebhookConfiguration.
pub(super) fn validating_webhooks(object: &mut Object) {
    for webhook in each(object, "webhooks") {
        self::webhook(webhook);
    }
}

fn webhook(webhook: &mut Object) {
    default(webhook, "failurePolicy", "Fail");
    default(webhook, "matchPolicy", "Equivalent");
    default(webhook, "namespaceSelector", json!({}));
    default(webhook, "objectSelector", json!({}));
    default(webhook, "timeoutSeconds", 10);
    rules(webhook, "rules");
    if let Some(service) = child(webhook, "clientConfig").and_then(|c| child(c, "service")) {
        default(service, "port", HTTPS);
    }
}

fn rules(holder: &mut Object, list: &str) {
    for rule in each(holder, list) {
        default(rule, "scope", "*");
    }
}

fn match_resources(resources: &mut Object) {
    default(resources, "matchPolicy", "Equivalent");
    default(resources, "namespaceSelector", json!({}));
    default(resources, "objectSelector", json!({}));
    rules(resources, "resourceRules");
    rules(resources, "excludeResourceRules");
}

/// ValidatingAdmissionPolicy.
pub(super) fn validating_policy(object: &mut Object) {
    let Some(spec) = ensure(object, "spec") else {
        return;
    };
    default(spec, "failurePolicy", "Fail");
    if let Some(resources) = child(spec, "matchConstraints") {
        match_resources(resources);
    }
}

/// MutatingAdmissionPolicy.
pub(super) fn mutating_policy(object: &mut Object) {
    validating_policy(object);
    if let Some(spec) = child(object, "spec") {
        default(spec, "reinvocationPolicy", "Never");
    }
}

/// Bindings of either policy.
pub(super) fn binding(object: &mut Object) {
    if let Some(resources) = child(object, "spec").and_then(|s| child(s, "matchResources")) {
        match_resources(resources);
    }
}

/// CustomResourceDefinition.
pub(super) fn custom_resource_definition(object: &mut Object) {
    let Some(spec) = ensure(object, "spec") else {
        return;
    };
    if let Some(names) = child(spec, "names") {
        let kind = text(names, "kind").to_owned();
        if !kind.is_empty() {
            if text(names, "singular").is_empty() {
                names.insert("singular".into(), Value::from(kind.to_lowercase()));
            }
            if text(names, "listKind").is_empty() {
                names.insert("listKind".into(), Value::from(format!("{kind}List")));
            }
        }
    }
    default(spec, "conversion", json!({"strategy": "None"}));
    let service = child(spec, "conversion")
        .and_then(|c| child(c, "webhook"))
        .and_then(|w| child(w, "clientConfig"))
        .and_then(|c| child(c, "service"));
    if let Some(service) = service {
        default(service, "port", HTTPS);
    }
}

/// APIService.
pub(super) fn api_service(object: &mut Object) {
    let Some(spec) = child(object, "spec") else {
        return;
    };
    if !unset(spec, "service")
        && let Some(service) = child(spec, "service")
    {
        default(service, "port", HTTPS);
    }
}

//! Network policies and ingress classes.

use serde_json::{Value, json};

use super::edit::{child, default, each, empty, ensure};
use crate::Object;

/// NetworkPolicy.
pub(super) fn network_policy(object: &mut Object) {
    let Some(spec) = ensure(object, "spec") else {
        return;
    };
    for direction in ["ingress", "egress"] {
        for rule in each(spec, direction) {
            for port in each(rule, "ports") {
                default(port, "protocol", Value::from("TCP"));
            }
        }
    }
    if empty(spec, "policyTypes") {
        let types = if empty(spec, "egress") { json!(["Ingress"]) } else { json!(["Ingress", "Egress"]) };
        spec.insert("policyTypes".into(), types);
    }
}

/// IngressClass.
pub(super) fn ingress_class(object: &mut Object) {
    if let Some(parameters) = child(object, "spec").and_then(|s| child(s, "parameters")) {
        default(parameters, "scope", "Cluster");
    }
}

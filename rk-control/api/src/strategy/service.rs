//! Services that change their type: what only the former type has use for goes with it, unless the change touches it.

use serde_json::{Map, Value};

use crate::meta::{at, text};

/// Whether a Service has a use for a field.
type Wants = fn(&Value) -> bool;

/// A field of the spec, and which Services may have it.
const FIELDS: [(&str, Wants); 3] = [
    ("allocateLoadBalancerNodePorts", is_balanced),
    ("loadBalancerClass", is_balanced),
    ("externalTrafficPolicy", is_reached_from_outside),
];

fn is_balanced(service: &Value) -> bool {
    text(service, &["spec", "type"]) == "LoadBalancer"
}

fn is_reached_from_outside(service: &Value) -> bool {
    let kind = text(service, &["spec", "type"]);
    let addresses = at(service, &["spec", "externalIPs"]).as_array().is_some_and(|list| !list.is_empty());
    matches!(kind, "LoadBalancer" | "NodePort") || (kind == "ClusterIP" && addresses)
}

/// Drops what was left standing of the former type, where a load balancer is reached with it. Addresses and node ports are the allocator's business.
pub(super) fn update(new: &mut Value, old: &Value) {
    for (field, has_use) in FIELDS {
        let same = at(new, &["spec", field]) == at(old, &["spec", field]);
        if same
            && has_use(old)
            && !has_use(new)
            && let Some(spec) = new.get_mut("spec").and_then(Value::as_object_mut)
        {
            spec.remove(field);
        }
    }
    if !is_balanced(new)
        && let Some(balancer) = new.pointer_mut("/status/loadBalancer")
    {
        *balancer = Value::Object(Map::new());
    }
}

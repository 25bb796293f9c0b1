//! Services and their endpoints. Addresses and node ports are allocated by the server, not defaulted.

use serde_json::Value;

use super::edit::{child, default, each, empty, ensure, text, unset};
use crate::Object;

/// Three hours, as upstream.
const AFFINITY_SECONDS: i64 = 10_800;

/// Service.
pub(super) fn service(object: &mut Object) {
    let Some(spec) = ensure(object, "spec") else {
        return;
    };
    default(spec, "sessionAffinity", "None");
    match text(spec, "sessionAffinity") {
        "None" => drop(spec.remove("sessionAffinityConfig")),
        "ClientIP" => {
            if let Some(client) = ensure(spec, "sessionAffinityConfig").and_then(|c| ensure(c, "clientIP")) {
                default(client, "timeoutSeconds", AFFINITY_SECONDS);
            }
        }
        _ => {}
    }
    default(spec, "type", "ClusterIP");
    for port in each(spec, "ports") {
        default(port, "protocol", "TCP");
        let target = port.get("targetPort");
        if target.is_none_or(|t| t.is_null() || t.as_i64() == Some(0) || t.as_str() == Some(""))
            && let Some(number) = port.get("port").cloned()
        {
            port.insert("targetPort".into(), number);
        }
    }
    let kind = text(spec, "type").to_owned();
    let balanced = matches!(&*kind, "NodePort" | "LoadBalancer");
    if balanced || (kind == "ClusterIP" && !empty(spec, "externalIPs")) {
        default(spec, "externalTrafficPolicy", "Cluster");
    }
    if balanced || kind == "ClusterIP" {
        default(spec, "internalTrafficPolicy", "Cluster");
    } else if kind == "ExternalName" && matches!(text(spec, "internalTrafficPolicy"), "Cluster" | "Local") {
        // Upstream shows none of a name alone; what is no policy is refused.
        spec.remove("internalTrafficPolicy");
    }
    if kind == "LoadBalancer" {
        default(spec, "allocateLoadBalancerNodePorts", true);
        if let Some(status) = child(object, "status").and_then(|s| child(s, "loadBalancer")) {
            for ingress in each(status, "ingress") {
                if !unset(ingress, "ip") {
                    default(ingress, "ipMode", "VIP");
                }
            }
        }
    }
}

/// Endpoints.
pub(super) fn endpoints(object: &mut Object) {
    for subset in each(object, "subsets") {
        for port in each(subset, "ports") {
            default(port, "protocol", "TCP");
        }
    }
}

/// EndpointSlice.
pub(super) fn endpoint_slice(object: &mut Object) {
    for port in each(object, "ports") {
        default(port, "name", Value::from(""));
        default(port, "protocol", "TCP");
    }
}

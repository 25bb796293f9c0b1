//! What a Service takes.

use k8s_openapi::api::core::v1::ServiceSpec;

use crate::usage::{ONE, Usage, many};

/// A Service, and what its type adds. Node ports are counted by intent: those of a new Service are not allocated yet.
#[must_use]
pub fn of_service(spec: &ServiceSpec) -> Usage {
    let mut usage = Usage::from([("services".to_owned(), ONE), ("count/services".to_owned(), ONE)]);
    let ports = spec.ports.as_deref().unwrap_or_default();
    let used = match spec.type_.as_deref() {
        Some("NodePort") => ports.len(),
        Some("LoadBalancer") => {
            usage.insert("services.loadbalancers".to_owned(), ONE);
            let all = spec.allocate_load_balancer_node_ports != Some(false);
            ports.iter().filter(|port| all || port.node_port.is_some_and(|number| number != 0)).count()
        }
        _ => return usage,
    };
    usage.insert("services.nodeports".to_owned(), many(used));
    usage
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn node_ports_are_counted_by_what_is_asked_for() {
        let ports = json!([{"port": 1, "nodePort": 30001}, {"port": 2}]);
        for (spec, balancers, node_ports) in [
            (json!({"ports": ports}), "0", "0"),
            (json!({"type": "NodePort", "ports": ports}), "0", "2"),
            (json!({"type": "LoadBalancer", "ports": ports}), "1", "2"),
            (json!({"type": "LoadBalancer", "ports": ports, "allocateLoadBalancerNodePorts": false}), "1", "1"),
        ] {
            let usage = of_service(&serde_json::from_value(spec.clone()).unwrap());
            let told = |name: &str| usage.get(name).copied().unwrap_or_default().to_string();
            assert_eq!(
                (told("services"), told("services.loadbalancers"), told("services.nodeports")),
                ("1".to_owned(), balancers.to_owned(), node_ports.to_owned()),
                "{spec}"
            );
        }
    }
}

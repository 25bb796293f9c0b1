//! Which ports of a pod stand behind the ports of a Service.

use k8s_openapi::api::core::v1::{Container, Pod, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// One resolved port; ordered, so that equal sets compare equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ResolvedPort {
    pub(crate) name: String,
    pub(crate) port: i32,
    pub(crate) protocol: String,
    pub(crate) app_protocol: Option<String>,
}

/// Ports of `pod` for every Service port that it can serve.
pub(crate) fn resolve(service: &ServiceSpec, pod: &Pod) -> Vec<ResolvedPort> {
    let mut ports: Vec<ResolvedPort> =
        service.ports.iter().flatten().filter_map(|port| resolve_one(port, pod)).collect();
    ports.sort();
    ports
}

fn resolve_one(service_port: &ServicePort, pod: &Pod) -> Option<ResolvedPort> {
    let protocol = service_port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
    let port = match service_port.target_port.as_ref() {
        None | Some(IntOrString::Int(0)) => service_port.port,
        Some(IntOrString::Int(port)) => *port,
        Some(IntOrString::String(name)) => named(pod, name, &protocol)?,
    };
    Some(ResolvedPort {
        name: service_port.name.clone().unwrap_or_default(),
        port,
        protocol,
        app_protocol: service_port.app_protocol.clone(),
    })
}

fn named(pod: &Pod, name: &str, protocol: &str) -> Option<i32> {
    let spec = pod.spec.as_ref()?;
    let sidecars = spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let all: Vec<&Container> = spec.containers.iter().chain(sidecars).collect();
    all.iter()
        .flat_map(|c| c.ports.iter().flatten())
        .find(|p| p.name.as_deref() == Some(name) && p.protocol.as_deref().unwrap_or("TCP") == protocol)
        .map(|p| p.container_port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn named_ports_are_looked_up_in_the_pod_and_missing_ones_left_out() {
        let service: ServiceSpec = serde_json::from_value(json!({"ports": [
            {"name": "web", "port": 80, "targetPort": "http"}, {"name": "raw", "port": 81, "targetPort": 8081},
            {"name": "same", "port": 82}, {"name": "none", "port": 83, "targetPort": "nope"}]}))
        .expect("valid");
        let pod: Pod = serde_json::from_value(json!({"spec": {"containers": [{"name": "c", "ports": [
            {"name": "http", "containerPort": 8080}]}]}}))
        .expect("valid");
        let ports: Vec<(String, i32)> = resolve(&service, &pod).into_iter().map(|p| (p.name, p.port)).collect();
        assert_eq!(ports, [("raw".to_owned(), 8081), ("same".to_owned(), 82), ("web".to_owned(), 8080)]);
    }
}

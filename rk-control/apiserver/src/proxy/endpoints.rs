//! The addresses behind a port of a Service.

use std::net::SocketAddr;

use rk_api::meta;
use rk_api::status::{Reason, Status};
use serde_json::Value;

use crate::server::Core;

/// The ready endpoints of a Service's port, named by its name or number; an empty name means the only one.
///
/// # Errors
/// EndpointSlices cannot be read, or the Service has no port of that number.
pub(crate) async fn ready_endpoints(core: &Core, service: &Value, wanted: &str) -> Result<Vec<SocketAddr>, Status> {
    let Some(port_name) = port_name(service, wanted) else {
        return if wanted.parse::<u16>().is_ok() { Err(no_port(service, wanted)) } else { Ok(Vec::new()) };
    };
    let slices = core.objects("discovery.k8s.io", "v1", "endpointslices", meta::namespace(service)).await?;
    let own = slices.iter().filter(|slice| {
        meta::at(slice, &["metadata", "labels", "kubernetes.io/service-name"]).as_str() == Some(meta::name(service))
    });
    Ok(own.flat_map(|slice| addresses(slice, &port_name)).collect())
}

fn no_port(service: &Value, wanted: &str) -> Status {
    let why = format!("no service port {wanted} found for service {:?}", meta::name(service));
    Status::new(Reason::ServiceUnavailable, why)
}

/// The name of the port that is meant.
fn port_name(service: &Value, wanted: &str) -> Option<String> {
    let ports = meta::at(service, &["spec", "ports"]).as_array()?;
    let number = |port: &Value| port.get("port").and_then(Value::as_u64).map(|port| port.to_string());
    let chosen = match (wanted, ports.as_slice()) {
        ("", [only]) => Some(only),
        ("", _) => None,
        _ => ports.iter().find(|port| wanted == meta::text(port, &["name"]) || number(port).as_deref() == Some(wanted)),
    };
    chosen.map(|port| meta::text(port, &["name"]).to_owned())
}

fn addresses(slice: &Value, port_name: &str) -> Vec<SocketAddr> {
    let ports = meta::at(slice, &["ports"]).as_array().into_iter().flatten();
    let port = ports.into_iter().find(|port| meta::text(port, &["name"]) == port_name);
    let port = port.and_then(|port| port.get("port")?.as_u64()).and_then(|port| u16::try_from(port).ok());
    let Some(port) = port else { return Vec::new() };
    let endpoints = meta::at(slice, &["endpoints"]).as_array().into_iter().flatten();
    let ready = endpoints.filter(|one| meta::at(one, &["conditions", "ready"]).as_bool() != Some(false));
    let ips = ready.flat_map(|one| meta::at(one, &["addresses"]).as_array().into_iter().flatten());
    ips.filter_map(|ip| Some(SocketAddr::new(ip.as_str()?.parse().ok()?, port))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ready_addresses_come_with_the_port_that_is_meant() {
        let service = json!({"spec": {"ports": [{"name": "a", "port": 80}, {"name": "b", "port": 443}]}});
        assert_eq!(port_name(&service, "443").as_deref(), Some("b"));
        assert_eq!((port_name(&service, ""), port_name(&service, "c")), (None, None));
        let slice = json!({"ports": [{"name": "b", "port": 8443}], "endpoints": [
            {"addresses": ["10.0.0.1"]}, {"addresses": ["10.0.0.2"], "conditions": {"ready": false}},
        ]});
        assert_eq!(addresses(&slice, "b"), ["10.0.0.1:8443".parse().unwrap()]);
        assert!(addresses(&slice, "a").is_empty());
    }
}

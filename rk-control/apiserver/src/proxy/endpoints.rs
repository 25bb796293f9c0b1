//! The addresses behind a port of a Service.

use std::net::{IpAddr, SocketAddr};

use rk_api::meta;
use rk_api::status::{Reason, Status};
use serde_json::Value;

use crate::server::Core;

/// A ready address behind a port, and the object that its slice says it is of.
#[derive(Debug, PartialEq, Eq)]
struct Endpoint {
    address: SocketAddr,
    /// Namespace and name.
    target: Option<(String, String)>,
}

/// The ready endpoints of a Service's port, named by its name or number; an empty name is that of a port without one.
///
/// # Errors
/// EndpointSlices cannot be read, or the Service has no port of that number.
pub(crate) async fn ready_endpoints(core: &Core, service: &Value, wanted: &str) -> Result<Vec<SocketAddr>, Status> {
    Ok(endpoints(core, service, wanted).await?.into_iter().map(|endpoint| endpoint.address).collect())
}

/// One of them, chosen at random, that is a Pod's by the Pod's own status: whoever may write EndpointSlices must not send the server's
/// requests anywhere. The rule is upstream's (`pkg/registry/core/service/storage/storage.go`), which looks at no `targetRef.kind` either.
///
/// # Errors
/// As [`ready_endpoints`]; a Pod cannot be read.
pub(super) async fn pod_endpoint(core: &Core, service: &Value, wanted: &str) -> Result<Option<SocketAddr>, Status> {
    let mut all = endpoints(core, service, wanted).await?;
    let first = if all.is_empty() { 0 } else { rand::random_range(0..all.len()) };
    all.rotate_left(first);
    let own = meta::namespace(service);
    for endpoint in all {
        let Some((_, name)) = endpoint.target.filter(|(namespace, _)| namespace == own) else { continue };
        let pod = core.object("", "v1", "pods", own, &name).await?;
        if pod.is_some_and(|pod| holds(&pod, endpoint.address.ip())) {
            return Ok(Some(endpoint.address));
        }
    }
    Ok(None)
}

async fn endpoints(core: &Core, service: &Value, wanted: &str) -> Result<Vec<Endpoint>, Status> {
    let port_name = port_name(service, wanted)?;
    let slices = core.objects("discovery.k8s.io", "v1", "endpointslices", meta::namespace(service)).await?;
    let own = slices.iter().filter(|slice| {
        meta::at(slice, &["metadata", "labels", "kubernetes.io/service-name"]).as_str() == Some(meta::name(service))
    });
    Ok(own.flat_map(|slice| ready(slice, port_name)).collect())
}

/// The name of the port that is meant: numbers are those of the Service, names are looked for in its slices.
fn port_name<'a>(service: &'a Value, wanted: &'a str) -> Result<&'a str, Status> {
    let Ok(number) = wanted.parse::<i64>() else { return Ok(wanted) };
    let mut ports = meta::at(service, &["spec", "ports"]).as_array().into_iter().flatten();
    let found = ports.find(|port| meta::at(port, &["port"]).as_i64() == Some(number));
    found.map(|port| meta::text(port, &["name"])).ok_or_else(|| {
        let why = format!("no service port {number} found for service {:?}", meta::name(service));
        Status::new(Reason::ServiceUnavailable, why)
    })
}

/// The ready endpoints of a slice that has the port.
fn ready(slice: &Value, port_name: &str) -> Vec<Endpoint> {
    let ports = meta::at(slice, &["ports"]).as_array().into_iter().flatten();
    let port = ports.into_iter().find(|port| meta::text(port, &["name"]) == port_name);
    let port = port.and_then(|port| port.get("port")?.as_u64()).and_then(|port| u16::try_from(port).ok());
    let Some(port) = port else { return Vec::new() };
    let endpoints = meta::at(slice, &["endpoints"]).as_array().into_iter().flatten();
    let ready = endpoints.filter(|one| meta::at(one, &["conditions", "ready"]).as_bool() != Some(false));
    ready.flat_map(|one| addresses(one, port)).collect()
}

fn addresses(endpoint: &Value, port: u16) -> Vec<Endpoint> {
    let target = endpoint.get("targetRef").filter(|target| target.is_object());
    let named =
        |target: &Value| (meta::text(target, &["namespace"]).to_owned(), meta::text(target, &["name"]).to_owned());
    let target = target.map(named);
    let ips = meta::at(endpoint, &["addresses"]).as_array().into_iter().flatten();
    let ips = ips.filter_map(|ip| ip.as_str()?.parse().ok());
    ips.map(|ip| Endpoint { address: SocketAddr::new(ip, port), target: target.clone() }).collect()
}

/// Whether a Pod's status has the address.
fn holds(pod: &Value, ip: IpAddr) -> bool {
    let ips = meta::at(pod, &["status", "podIPs"]).as_array().into_iter().flatten();
    ips.into_iter().any(|own| meta::text(own, &["ip"]).parse::<IpAddr>() == Ok(ip))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ready_addresses_come_with_the_port_that_is_meant() {
        let service = json!({"spec": {"ports": [{"name": "a", "port": 80}, {"name": "b", "port": 443}]}});
        assert_eq!(port_name(&service, "443").ok(), Some("b"));
        assert_eq!((port_name(&service, "").ok(), port_name(&service, "c").ok()), (Some(""), Some("c")));
        assert!(port_name(&service, "81").is_err() && port_name(&service, "65616").is_err());
        let slice = json!({"ports": [{"name": "b", "port": 8443}], "endpoints": [
            {"addresses": ["10.0.0.1"], "targetRef": {"kind": "Pod", "namespace": "n", "name": "p"}},
            {"addresses": ["10.0.0.2"], "conditions": {"ready": false}},
            {"addresses": ["10.0.0.3"]},
        ]});
        let of = |address: &str, target| Endpoint { address: address.parse().unwrap(), target };
        let pod = Some(("n".to_owned(), "p".to_owned()));
        assert_eq!(ready(&slice, "b"), [of("10.0.0.1:8443", pod), of("10.0.0.3:8443", None)]);
        assert!(ready(&slice, "a").is_empty() && ready(&slice, "").is_empty());
    }

    #[test]
    fn a_pod_holds_the_addresses_of_its_status_alone() {
        let pod = json!({"status": {"hostIP": "10.0.0.9", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}});
        for (ip, held) in [("10.0.0.1", true), ("fd00::1", true), ("10.0.0.9", false), ("10.0.0.2", false)] {
            assert_eq!(holds(&pod, ip.parse().unwrap()), held, "{ip}");
        }
        assert!(!holds(&json!({}), "10.0.0.1".parse().unwrap()));
    }
}

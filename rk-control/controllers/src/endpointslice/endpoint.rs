//! One pod as an endpoint of a Service.

use super::topology;
use crate::pods;
use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointHints, ForNode, ForZone};
use std::net::IpAddr;

const ZONE: &str = "topology.kubernetes.io/zone";

/// The pod's address of a family (`IPv4` or `IPv6`).
pub(crate) fn address(pod: &Pod, family: &str) -> Option<String> {
    let status = pod.status.as_ref()?;
    let several = status.pod_ips.iter().flatten().map(|ip| &ip.ip);
    several.chain(&status.pod_ip).find(|ip| family_of(ip) == Some(family)).cloned()
}

pub(crate) fn family_of(ip: &str) -> Option<&'static str> {
    Some(match ip.parse().ok()? {
        IpAddr::V4(_) => "IPv4",
        IpAddr::V6(_) => "IPv6",
    })
}

/// The zone of a node, unless that is empty.
pub(super) fn zone_of(node: &Node) -> Option<&String> {
    node.metadata.labels.as_ref()?.get(ZONE).filter(|zone| !zone.is_empty())
}

/// Builds the endpoint, without a zone that it is for where the Service asks for those by shares; `None` while the pod has no address of
/// the family, or when it is finished.
pub(super) fn build(service: &Service, pod: &Pod, node: Option<&Node>, family: &str) -> Option<Endpoint> {
    if pods::is_finished(pod) {
        return None;
    }
    let address = address(pod, family)?;
    let spec = service.spec.as_ref()?;
    let (serving, terminating) = (pods::is_ready(pod), pods::is_terminating(pod));
    let ready = spec.publish_not_ready_addresses == Some(true) || (serving && !terminating);
    let zone = node.and_then(zone_of).cloned();
    let by_shares = topology::is_wanted(service.metadata.annotations.as_ref());
    let distribution = spec.traffic_distribution.as_deref().filter(|_| ready && !by_shares);
    let node_name = pods::node_name(pod).map(str::to_owned);
    Some(Endpoint {
        addresses: vec![address],
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: hostname(service, pod),
        hints: hints(distribution, zone.as_ref(), node_name.as_ref()),
        node_name,
        target_ref: Some(target(pod)),
        zone,
        ..Endpoint::default()
    })
}

pub(crate) fn target(pod: &Pod) -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".to_owned()),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        ..ObjectReference::default()
    }
}

/// Pods of a governing Service are reachable by their own name.
pub(crate) fn hostname(service: &Service, pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let governed = spec.subdomain.is_some()
        && spec.subdomain == service.metadata.name
        && pod.metadata.namespace == service.metadata.namespace;
    spec.hostname.clone().filter(|name| governed && !name.is_empty())
}

fn hints(distribution: Option<&str>, zone: Option<&String>, node: Option<&String>) -> Option<EndpointHints> {
    let zones = zone.map(|zone| vec![ForZone { name: zone.clone() }]);
    match distribution? {
        "PreferClose" | "PreferSameZone" => Some(EndpointHints { for_zones: Some(zones?), for_nodes: None }),
        "PreferSameNode" => {
            Some(EndpointHints { for_zones: zones, for_nodes: Some(vec![ForNode { name: node?.clone() }]) })
        }
        _ => None,
    }
}

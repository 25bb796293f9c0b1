//! Services, what serves them, and who may reach whom.

use serde_json::Value;

use super::{Found, addresses, list};
use crate::meta::{at, text};
use crate::status::Path;

const HINTS_OF_OLD: &str = "service.kubernetes.io/topology-aware-hints";
const TOPOLOGY_MODE: &str = "service.kubernetes.io/topology-mode";
const INGRESS_CLASS: &str = "kubernetes.io/ingress.class";

/// A Service.
pub(super) fn service(object: &Value, found: &mut Found) {
    if !at(object, &["metadata", "annotations", HINTS_OF_OLD]).is_null() {
        found.say(format_args!("annotation {HINTS_OF_OLD} is deprecated, please use {TOPOLOGY_MODE} instead"));
    }
    let spec = at(object, &["spec"]);
    let (kind, external) = (text(spec, &["type"]), list(spec, "externalIPs"));
    let headless = kind == "ClusterIP" && text(spec, &["clusterIP"]) == "None";
    of_list(spec, "clusterIPs", found);
    if headless {
        of_headless(spec, found);
    }
    of_list(spec, "externalIPs", found);
    if !external.is_empty() && !headless && kind != "ExternalName" {
        found.say("spec.externalIPs is deprecated and may no longer be implemented in some clusters");
    }
    addresses::address(text(spec, &["loadBalancerIP"]), &Path::new("spec.loadBalancerIP"), found);
    for (index, range) in list(spec, "loadBalancerSourceRanges").iter().enumerate() {
        addresses::range(range, &Path::new("spec.loadBalancerSourceRanges").index(index), found);
    }
    if kind == "ExternalName" && !external.is_empty() {
        found.say("spec.externalIPs is ignored when spec.type is \"ExternalName\"");
    }
    if kind != "ExternalName" && !text(spec, &["externalName"]).is_empty() {
        found.say("spec.externalName is ignored when spec.type is not \"ExternalName\"");
    }
    if text(spec, &["trafficDistribution"]) == "PreferClose" {
        found.say("spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"");
    }
}

/// What means nothing without an address of the Service's own.
fn of_headless(spec: &Value, found: &mut Found) {
    if !text(spec, &["loadBalancerIP"]).is_empty() {
        found.say("spec.loadBalancerIP is ignored for headless services");
    }
    if !list(spec, "externalIPs").is_empty() {
        found.say("spec.externalIPs is ignored for headless services");
    }
    if text(spec, &["sessionAffinity"]) != "None" {
        found.say("spec.SessionAffinity is ignored for headless services");
    }
}

fn of_list(spec: &Value, key: &str, found: &mut Found) {
    let path = Path::new("spec");
    let path = path.child(key);
    for (index, value) in list(spec, key).iter().filter_map(Value::as_str).enumerate() {
        addresses::address(value, &path.index(index), found);
    }
}

/// Endpoints, unless the controller wrote them, which writes addresses well.
pub(super) fn endpoints(object: &Value, found: &mut Found) {
    if text(object, &["metadata", "labels", "endpoints.kubernetes.io/managed-by"]) == "endpoint-controller" {
        return;
    }
    let path = Path::new("subsets");
    for (index, subset) in list(object, "subsets").iter().enumerate() {
        let path = path.index(index);
        for key in ["addresses", "notReadyAddresses"] {
            addresses::of_items(at(subset, &[key]), "ip", &path.child(key), found);
        }
    }
}

/// An EndpointSlice, unless a controller wrote it, which writes addresses well.
pub(super) fn slice(object: &Value, old: Option<&Value>, found: &mut Found) {
    const OURS: [&str; 2] = ["endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"];
    if old.is_none() && text(object, &["addressType"]) == "FQDN" {
        found.say("spec.addressType: FQDN endpoints are deprecated");
    }
    if OURS.contains(&text(object, &["metadata", "labels", "endpointslice.kubernetes.io/managed-by"])) {
        return;
    }
    let path = Path::new("endpoints");
    for (index, endpoint) in list(object, "endpoints").iter().enumerate() {
        let path = path.index(index);
        let path = path.child("addresses");
        for (index, value) in list(endpoint, "addresses").iter().filter_map(Value::as_str).enumerate() {
            addresses::address(value, &path.index(index), found);
        }
    }
}

/// A NetworkPolicy's blocks of addresses.
pub(super) fn policy(object: &Value, found: &mut Found) {
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        let path = Path::new("spec");
        let path = path.child(direction);
        for (index, rule) in list(at(object, &["spec"]), direction).iter().enumerate() {
            let path = path.index(index);
            let path = path.child(peers);
            for (index, peer) in list(rule, peers).iter().enumerate() {
                let path = path.index(index);
                block(at(peer, &["ipBlock"]), &path.child("ipBlock"), found);
            }
        }
    }
}

fn block(block: &Value, path: &Path<'_>, found: &mut Found) {
    addresses::range(at(block, &["cidr"]), &path.child("cidr"), found);
    let path = path.child("except");
    for (index, range) in list(block, "except").iter().enumerate() {
        addresses::range(range, &path.index(index), found);
    }
}

/// An Ingress whose class is not where classes are now.
pub(super) fn ingress(object: &Value, found: &mut Found) {
    let annotated = !at(object, &["metadata", "annotations", INGRESS_CLASS]).is_null();
    if annotated && at(object, &["spec", "ingressClassName"]).is_null() {
        found.say(format_args!(
            "annotation {INGRESS_CLASS:?} is deprecated, please use 'spec.ingressClassName' instead"
        ));
    }
}

//! The Services `kubernetes` and `kube-dns`, and the endpoints of the former.

use std::net::IpAddr;
use std::sync::Arc;

use rk_api::meta;
use rk_api::status::Status;
use serde_json::{Value, json};

use super::{ensure, replace};
use crate::server::Core;

pub(super) async fn reconcile(core: &Arc<Core>) -> Result<(), Status> {
    if let Some(address) = core.config.kubernetes_service_ip() {
        ensure(core, "", "v1", "services", kubernetes(core, address)).await?;
    }
    if let Some(address) = core.config.dns_ip {
        ensure(core, "", "v1", "services", dns(address)).await?;
    }
    let address = core
        .config
        .advertise
        .parse::<IpAddr>()
        .ok()
        .filter(|address| !address.is_loopback() && !address.is_unspecified());
    let Some(address) = address else {
        tracing::warn!(
            advertise = %core.config.advertise,
            "others cannot reach this: the Service kubernetes has no endpoints until an address is advertised (--advertise)"
        );
        return Ok(());
    };
    let port = core.config.advertise_port;
    keep(core, "", "endpoints", endpoints(address, port), &["subsets"]).await?;
    keep(core, "discovery.k8s.io", "endpointslices", slice(address, port), &["endpoints", "ports", "addressType"]).await
}

/// Creates an object, or brings the named fields of the present one up to date.
async fn keep(core: &Arc<Core>, group: &str, plural: &str, wanted: Value, fields: &[&str]) -> Result<(), Status> {
    let present = core.object(group, "v1", plural, meta::namespace(&wanted), meta::name(&wanted)).await?;
    let Some(mut present) = present else { return ensure(core, group, "v1", plural, wanted).await };
    let before = present.clone();
    for field in fields {
        if let Some(value) = wanted.get(*field) {
            present[*field] = value.clone();
        }
    }
    if present == before { Ok(()) } else { replace(core, group, "v1", plural, &present).await }
}

fn kubernetes(core: &Core, address: IpAddr) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {
            "type": "ClusterIP", "clusterIP": address.to_string(), "sessionAffinity": "None",
            "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": core.config.advertise_port}],
        },
    })
}

fn dns(address: IpAddr) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": "kube-dns", "namespace": "kube-system",
            "labels": {"k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"},
        },
        "spec": {
            "type": "ClusterIP", "clusterIP": address.to_string(),
            "ports": [
                {"name": "dns", "protocol": "UDP", "port": 53, "targetPort": 53},
                {"name": "dns-tcp", "protocol": "TCP", "port": 53, "targetPort": 53},
                {"name": "metrics", "protocol": "TCP", "port": 9153, "targetPort": 9153},
            ],
        },
    })
}

fn endpoints(address: IpAddr, port: u16) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [{"addresses": [{"ip": address.to_string()}], "ports": [{"name": "https", "port": port, "protocol": "TCP"}]}],
    })
}

fn slice(address: IpAddr, port: u16) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": if address.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{"addresses": [address.to_string()], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    })
}

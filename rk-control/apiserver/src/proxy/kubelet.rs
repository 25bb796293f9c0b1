//! Finding and reaching the kubelet of a node.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hyper::client::conn::http1::SendRequest;
use rk_api::meta;
use rk_api::status::{Reason, Status};
use serde_json::Value;

use super::dial::connect;
use crate::http::Body;
use crate::server::Core;

/// Port of a kubelet that does not say.
const PORT: u16 = 10250;
/// Kinds of node addresses, best first; upstream's order with what a node of ours has in front.
const PREFERRED: &[&str] = &["InternalIP", "ExternalIP"];

/// Connects to kubelets with the server's own client certificate, trusting the cluster's authority alone.
pub struct KubeletClient {
    tls: Arc<rustls::ClientConfig>,
}

impl KubeletClient {
    /// From TLS settings that carry the client certificate.
    #[must_use]
    pub fn new(tls: rustls::ClientConfig) -> Self {
        Self { tls: Arc::new(tls) }
    }

    /// The TLS settings.
    #[must_use]
    pub fn tls(&self) -> Arc<rustls::ClientConfig> {
        Arc::clone(&self.tls)
    }

    /// Opens a connection to the kubelet of a node.
    ///
    /// # Errors
    /// 404 without the node, 500 when it cannot be reached.
    pub(super) async fn connect(&self, core: &Core, node: &str) -> Result<(SendRequest<Body>, SocketAddr), Status> {
        let address = address(core, node).await?;
        let sender = connect(address, Some(self.tls())).await.map_err(|unreached| unreached.by_upgrade())?;
        Ok((sender, address))
    }
}

/// Address and port of a node's kubelet.
pub(super) async fn address(core: &Core, node: &str) -> Result<SocketAddr, Status> {
    let resource = core.resource("", "v1", "nodes")?;
    let object = core.object("", "v1", "nodes", "", node).await?.ok_or_else(|| Status::not_found(&resource, node))?;
    endpoint_of(&object).ok_or_else(|| {
        let known = known_addresses(&object);
        Status::new(Reason::Unknown, format!("no preferred addresses found; known addresses: [{known}]"))
    })
}

/// A node's addresses as Go prints them: `{Hostname n} {InternalDNS n.example.com}`.
fn known_addresses(node: &Value) -> String {
    let addresses = meta::at(node, &["status", "addresses"]).as_array().into_iter().flatten();
    let shown =
        addresses.map(|entry| format!("{{{} {}}}", meta::text(entry, &["type"]), meta::text(entry, &["address"])));
    shown.collect::<Vec<String>>().join(" ")
}

fn endpoint_of(node: &Value) -> Option<SocketAddr> {
    let port = meta::at(node, &["status", "daemonEndpoints", "kubeletEndpoint", "Port"]).as_u64();
    let port = port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0).unwrap_or(PORT);
    let addresses = meta::at(node, &["status", "addresses"]).as_array()?;
    let of_kind = |kind: &&str| {
        addresses
            .iter()
            .filter(|entry| meta::text(entry, &["type"]) == *kind)
            .find_map(|entry| meta::text(entry, &["address"]).parse::<IpAddr>().ok())
    };
    PREFERRED.iter().find_map(of_kind).map(|ip| SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_internal_address_and_the_announced_port_are_used() {
        let node = json!({"status": {
            "addresses": [{"type": "Hostname", "address": "n"}, {"type": "ExternalIP", "address": "1.2.3.4"}, {"type": "InternalIP", "address": "10.0.0.2"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10251}},
        }});
        assert_eq!(endpoint_of(&node), Some("10.0.0.2:10251".parse().unwrap()));
        assert_eq!(endpoint_of(&json!({"status": {"addresses": []}})), None);
        assert_eq!(known_addresses(&node), "{Hostname n} {ExternalIP 1.2.3.4} {InternalIP 10.0.0.2}");
    }
}

//! Where a `clientConfig` points: a URL, or a port of a Service.

use std::net::{IpAddr, SocketAddr};

use rk_api::meta;
use serde_json::Value;

use super::CalloutError;
use crate::proxy::ready_endpoints;
use crate::server::Core;

/// The port of HTTPS, for those who name none.
const HTTPS: u16 = 443;

/// A place, named as its certificate must name it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The host in the certificate; an IPv6 address has no brackets here.
    pub(super) host: String,
    port: u16,
    /// The path, `/` at least.
    pub(super) path: String,
    /// Namespace and name of the Service, if it is one.
    service: Option<(String, String)>,
}

impl Place {
    pub(super) fn of(config: &Value) -> Result<Self, CalloutError> {
        if let Some(service) = config.get("service").filter(|service| service.is_object()) {
            let (namespace, name) = (meta::text(service, &["namespace"]), meta::text(service, &["name"]));
            let port = meta::at(service, &["port"]).as_u64().and_then(|port| u16::try_from(port).ok());
            return Ok(Self {
                host: format!("{name}.{namespace}.svc"),
                port: port.unwrap_or(HTTPS),
                path: rooted(meta::text(service, &["path"])),
                service: Some((namespace.to_owned(), name.to_owned())),
            });
        }
        let url = meta::text(config, &["url"]);
        let bad = || CalloutError(format!("invalid URL {url:?}: want https://host[:port][/path]"));
        let rest = url.strip_prefix("https://").ok_or_else(bad)?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let authority: http::uri::Authority = authority.parse().map_err(|_| bad())?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { host, port: authority.port_u16().unwrap_or(HTTPS), path: rooted(path), service: None })
    }

    /// Host and port, as URLs and `Host` headers have them.
    pub(super) fn authority(&self) -> String {
        match self.host.parse::<IpAddr>() {
            Ok(ip) if self.port != HTTPS || self.service.is_some() => SocketAddr::new(ip, self.port).to_string(),
            Ok(IpAddr::V6(ip)) => format!("[{ip}]"),
            Ok(IpAddr::V4(ip)) => ip.to_string(),
            Err(_) if self.port == HTTPS && self.service.is_none() => self.host.clone(),
            Err(_) => format!("{}:{}", self.host, self.port),
        }
    }

    /// An address to connect to.
    pub(super) async fn address(&self, core: &Core) -> Result<SocketAddr, CalloutError> {
        let Some((namespace, name)) = &self.service else { return resolve(&self.host, self.port).await };
        let service = core.object("", "v1", "services", namespace, name).await.map_err(CalloutError::new)?;
        let service = service.ok_or_else(|| CalloutError(format!("service {name:?} not found")))?;
        if meta::text(&service, &["spec", "type"]) == "ExternalName" {
            return resolve(meta::text(&service, &["spec", "externalName"]), self.port).await;
        }
        let addresses = ready_endpoints(core, &service, &self.port.to_string()).await.map_err(CalloutError::new)?;
        let index = if addresses.is_empty() { 0 } else { rand::random_range(0..addresses.len()) };
        addresses
            .get(index)
            .copied()
            .ok_or_else(|| CalloutError(format!("no endpoints available for service {name:?}")))
    }
}

fn rooted(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

/// The address of a host.
async fn resolve(host: &str, port: u16) -> Result<SocketAddr, CalloutError> {
    let failed = |why: &dyn std::fmt::Display| CalloutError(format!("dial tcp: lookup {host}: {why}"));
    let found = rk_resolve::lookup(host).await.map_err(|error| failed(&error))?;
    found.first().map(|ip| SocketAddr::new(*ip, port)).ok_or_else(|| failed(&"no such host"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn services_and_urls_are_told_by_the_names_in_their_certificates() {
        let service =
            Place::of(&json!({"service": {"namespace": "n", "name": "s", "path": "/p", "port": 8443}})).unwrap();
        assert_eq!((service.authority().as_str(), service.path.as_str()), ("s.n.svc:8443", "/p"));
        let url = Place::of(&json!({"url": "https://[::1]:9443/a/b"})).unwrap();
        assert_eq!((url.host.as_str(), url.authority().as_str(), url.path.as_str()), ("::1", "[::1]:9443", "/a/b"));
        assert_eq!(Place::of(&json!({"url": "https://example.com"})).unwrap().authority(), "example.com");
        assert!(Place::of(&json!({"url": "http://example.com"})).is_err());
    }
}

//! The cluster's API server, asked as the kubelet of this node: with its certificate, and its rights alone.

use crate::node::http::{Url, resolve, response, talk};
use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Where the node agent keeps them.
pub const PKI: &str = "/var/lib/rk/pki";
/// A node has at most a thousand pods.
const MOST_BYTES: u64 = 32 << 20;
const PATIENCE: Duration = Duration::from_secs(15);
const USER: &str = "system:node:";

/// An API server and who asks it.
#[derive(Clone)]
pub struct Cluster {
    host: String,
    port: u16,
    connector: TlsConnector,
    /// The node's name in the cluster.
    pub node: String,
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body; null when it is no JSON.
    pub body: Value,
}

impl Answer {
    /// The body of a success.
    ///
    /// # Errors
    /// The server's answer.
    pub fn good(self) -> Result<Value, String> {
        if (200..300).contains(&self.status) { Ok(self.body) } else { Err(self.message()) }
    }

    /// The server's message.
    pub fn message(&self) -> String {
        match self.body.pointer("/message").and_then(Value::as_str) {
            Some(text) => text.chars().filter(|c| !c.is_control()).take(300).collect(),
            None => format!("the API server answered {}", self.status),
        }
    }
}

impl Cluster {
    /// The cluster that this node joined; `None` when it never did.
    ///
    /// # Errors
    /// The certificates that are there cannot be used.
    pub fn joined(endpoint: &str, pki: &Path) -> Result<Option<Cluster>, String> {
        let read = |name: &str| std::fs::read(pki.join(name)).unwrap_or_default();
        let (authority, own) = (read("ca.crt"), read("kubelet-client.pem"));
        if authority.is_empty() || own.is_empty() {
            return Ok(None);
        }
        let wrong = |what: &str, err: String| format!("the node agent's {what} cannot be used: {err}");
        let url =
            Url::parse(endpoint).filter(|url| url.tls).ok_or_else(|| format!("{endpoint:?} is not an https URL"))?;
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&authority).filter_map(Result::ok));
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&own).filter_map(Result::ok).collect();
        let key = PrivateKeyDer::from_pem_slice(&own).map_err(|err| wrong("key", err.to_string()))?;
        let node = chain.first().and_then(|leaf| name_of(leaf)).ok_or("the node agent's certificate names no node")?;
        let config = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(|err| wrong("certificate", err.to_string()))?;
        let connector = TlsConnector::from(Arc::new(config));
        Ok(Some(Cluster { host: url.host.to_owned(), port: url.port, connector, node }))
    }

    /// Asks; `body` has a content type.
    ///
    /// # Errors
    /// No answer came, or none that is understood.
    pub async fn ask(&self, method: &str, path: &str, body: Option<(&str, &Value)>) -> Result<Answer, String> {
        match tokio::time::timeout(PATIENCE, self.exchange(method, path, body)).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("the API server at {} does not answer in time", self.host)),
        }
    }

    async fn exchange(&self, method: &str, path: &str, body: Option<(&str, &Value)>) -> Result<Answer, String> {
        let failed = |err: &dyn std::fmt::Display| format!("the API server at {}: {err}", self.host);
        let address = resolve(&self.host).await.map_err(|err| failed(&err))?;
        let stream = TcpStream::connect(SocketAddr::new(address, self.port)).await.map_err(|err| failed(&err))?;
        let name = ServerName::try_from(self.host.clone()).map_err(|err| failed(&err))?;
        let stream = self.connector.connect(name, stream).await.map_err(|err| failed(&err))?;
        let (kind, text) = body.map_or(("", String::new()), |(kind, value)| (kind, value.to_string()));
        let shown = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {shown}:{}\r\nconnection: close\r\naccept: application/json\r\n\
             user-agent: rk-machine-api\r\ncontent-length: {}\r\n",
            self.port,
            text.len()
        );
        if !kind.is_empty() {
            request.push_str(&format!("content-type: {kind}\r\n"));
        }
        request.push_str("\r\n");
        request.push_str(&text);
        let bytes = talk(stream, &request, MOST_BYTES).await.map_err(|err| failed(&err))?;
        let (status, body) = response(&bytes, MOST_BYTES).ok_or_else(|| failed(&"an answer that is no HTTP/1.1"))?;
        Ok(Answer { status, body: serde_json::from_slice(&body).unwrap_or(Value::Null) })
    }
}

/// The node that a certificate is of.
fn name_of(certificate: &[u8]) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let name = parsed.subject().iter_common_name().next()?.as_str().ok()?.strip_prefix(USER)?;
    rk_config::is_dns_subdomain(name).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_never_joined_has_no_cluster_and_one_that_did_knows_its_name() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::tempdir().unwrap();
        assert!(Cluster::joined("https://a:6443", dir.path()).unwrap().is_none());
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, "system:node:w-1");
        let certificate = params.self_signed(&key).unwrap().pem();
        std::fs::write(dir.path().join("ca.crt"), &certificate).unwrap();
        let both = format!("{certificate}{}", key.serialize_pem());
        std::fs::write(dir.path().join("kubelet-client.pem"), both).unwrap();
        let cluster = Cluster::joined("https://a:6443", dir.path()).unwrap().unwrap();
        assert_eq!((cluster.node.as_str(), cluster.host.as_str(), cluster.port), ("w-1", "a", 6443));
        assert!(Cluster::joined("http://a:6443", dir.path()).is_err(), "without TLS");
    }
}

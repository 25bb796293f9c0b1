//! The server over real sockets.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use super::{Cluster, PATIENCE};

pub type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

pub fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

pub fn pair(certificate: &str, key: &str) -> Pair {
    let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).map(Result::unwrap).collect();
    (chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap())
}

pub fn roots(cluster: &Cluster) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(cluster.pki.ca_certificate().as_bytes()).unwrap()).unwrap();
    Arc::new(roots)
}

pub async fn listen(cluster: &Cluster) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = cluster.server.clone();
    tokio::spawn(async move { server.serve(listener, CancellationToken::new()).await });
    address
}

pub async fn connect(
    cluster: &Cluster,
    address: SocketAddr,
    login: Option<Pair>,
) -> tokio_rustls::client::TlsStream<TcpStream> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots(cluster));
    let config = match login {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
        None => builder.with_no_client_auth(),
    };
    let stream = TcpStream::connect(address).await.unwrap();
    TlsConnector::from(Arc::new(config)).connect(ServerName::IpAddress(address.ip().into()), stream).await.unwrap()
}

/// Sends a raw request and returns what comes back until `end`.
pub async fn exchange(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin), request: &str, end: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut text = Vec::new();
    let read = async {
        let mut piece = [0; 4096];
        while !String::from_utf8_lossy(&text).contains(end) {
            let count = stream.read(&mut piece).await.unwrap();
            assert_ne!(count, 0, "closed after: {}", String::from_utf8_lossy(&text));
            text.extend_from_slice(&piece[..count]);
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("an answer in time");
    String::from_utf8_lossy(&text).into_owned()
}

pub fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n")
}

/// A connection that speaks HTTP/2, as the administrator.
pub async fn connect_h2(cluster: &Cluster, address: SocketAddr) -> tokio_rustls::client::TlsStream<TcpStream> {
    let (chain, key) = pair(&cluster.pki.admin.certificate, &cluster.pki.admin.key);
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots(cluster))
        .with_client_auth_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(address).await.unwrap();
    TlsConnector::from(Arc::new(config)).connect(ServerName::IpAddress(address.ip().into()), stream).await.unwrap()
}

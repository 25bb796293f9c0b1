//! A client of few words: HTTP/2 over TLS with a client certificate.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::CipherSuite;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How long something that the server makes by itself may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the server is and who asks.
pub struct Target {
    address: String,
    tls: TlsConnector,
}

impl Target {
    /// From a kubeconfig that holds its data.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let config: Value =
            serde_yaml_ng::from_slice(&std::fs::read(path).with_context(|| path.display().to_string())?)?;
        let text =
            |pointer: &str| config.pointer(pointer).and_then(Value::as_str).with_context(|| format!("no {pointer}"));
        let pem = |pointer: &str| anyhow::Ok(STANDARD.decode(text(pointer)?)?);
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&pem("/clusters/0/cluster/certificate-authority-data")?)?)?;
        let certificate = CertificateDer::from_pem_slice(&pem("/users/0/user/client-certificate-data")?)?;
        let key = PrivateKeyDer::from_pem_slice(&pem("/users/0/user/client-key-data")?)?;
        let mut provider = rustls::crypto::ring::default_provider();
        // What upstream's clients ask for first.
        provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
        let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![certificate], key)?;
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let address = text("/clusters/0/cluster/server")?.trim_start_matches("https://").to_owned();
        Ok(Self { address, tls: TlsConnector::from(Arc::new(tls)) })
    }

    /// A connection on which nothing was said yet.
    pub async fn dial(&self) -> anyhow::Result<TcpStream> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// TLS over a connection to a host.
    pub async fn secure<S>(&self, host: IpAddr, stream: S) -> anyhow::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        Ok(self.tls.connect(ServerName::IpAddress(host.into()), stream).await?)
    }
}

/// One connection.
pub struct Client(SendRequest<Full<Bytes>>);

impl Client {
    pub async fn connect(target: &Target) -> anyhow::Result<Self> {
        let stream = target.dial().await?;
        let stream = target.secure(stream.peer_addr()?.ip(), stream).await?;
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self(sender))
    }

    async fn send(
        &mut self,
        method: Method,
        path: &str,
        kind: &str,
        body: String,
    ) -> anyhow::Result<Response<Incoming>> {
        let request = Request::builder()
            .method(method)
            .uri(format!("https://server{path}"))
            .header(CONTENT_TYPE, kind)
            .body(Full::new(Bytes::from(body)))?;
        self.0.ready().await?;
        Ok(self.0.send_request(request).await?)
    }

    async fn answer(&mut self, method: Method, path: &str, kind: &str, body: String) -> anyhow::Result<Bytes> {
        let response = self.send(method, path, kind, body).await?;
        let code = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        if !code.is_success() {
            bail!("{path}: {code}: {}", String::from_utf8_lossy(&body));
        }
        Ok(body)
    }

    pub async fn get(&mut self, path: &str) -> anyhow::Result<Bytes> {
        self.answer(Method::GET, path, "application/json", String::new()).await
    }

    pub async fn post(&mut self, path: &str, object: Value) -> anyhow::Result<Bytes> {
        self.answer(Method::POST, path, "application/json", object.to_string()).await
    }

    pub async fn patch(&mut self, path: &str, patch: Value) -> anyhow::Result<Bytes> {
        self.answer(Method::PATCH, path, "application/merge-patch+json", patch.to_string()).await
    }

    /// Waits until something is there.
    pub async fn wait(&mut self, path: &str) -> anyhow::Result<()> {
        let begin = Instant::now();
        while self.get(path).await.is_err() {
            anyhow::ensure!(begin.elapsed() < PATIENCE, "{path} does not appear");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}

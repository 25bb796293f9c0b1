//! A client of few words: HTTP/2 over TLS with a client certificate.

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
use memchr::memmem::Finder;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

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
        let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
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
}

/// One connection; clones share it.
#[derive(Clone)]
pub struct Client(SendRequest<Full<Bytes>>);

impl Client {
    pub async fn connect(target: &Target) -> anyhow::Result<Self> {
        let stream = target.dial().await?;
        let host = stream.peer_addr()?.ip();
        let stream = target.tls.connect(ServerName::IpAddress(host.into()), stream).await?;
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

    pub async fn stream(mut self, path: &str) -> anyhow::Result<Incoming> {
        let response = self.send(Method::GET, path, "application/json", String::new()).await?;
        anyhow::ensure!(response.status().is_success(), "{path}: {}", response.status());
        Ok(response.into_body())
    }
}

/// How old each change is when its event arrives; ends with the last of them.
pub async fn ages(mut stream: Incoming, epoch: Instant, changes: u32) -> anyhow::Result<Vec<Duration>> {
    let marks = Marks::new(changes.saturating_sub(1));
    let mut ages = Vec::with_capacity(changes as usize);
    // The beginning of a line whose end is still to come.
    let mut begun: Vec<u8> = Vec::new();
    while let Some(frame) = stream.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        let mut rest = &data[..];
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, after) = rest.split_at(end + 1);
            rest = after;
            let found = if begun.is_empty() {
                marks.find(line)?
            } else {
                begun.extend_from_slice(line);
                let found = marks.find(&begun)?;
                begun.clear();
                found
            };
            let Some((sent, is_last)) = found else { continue };
            ages.push(epoch.elapsed().saturating_sub(sent));
            if is_last {
                return Ok(ages);
            }
        }
        begun.extend_from_slice(rest);
    }
    bail!("a watch ended early, after {} events", ages.len())
}

/// How far from the time of sending the number of the change may stand, in bytes: both are annotations of a few bytes.
const NEAR: usize = 64;

/// What is searched for in events: the client's reading is a part of what it measures.
struct Marks {
    sent: Finder<'static>,
    last: Finder<'static>,
}

impl Marks {
    fn new(last: u32) -> Self {
        let last = format!("\"number\":\"{last}\"");
        Self { sent: Finder::new(b"\"sent\":\""), last: Finder::new(last.as_bytes()).into_owned() }
    }

    /// When the change of an event was sent, since the epoch, and whether it is the last one.
    fn find(&self, line: &[u8]) -> anyhow::Result<Option<(Duration, bool)>> {
        let Some(at) = self.sent.find(line) else { return Ok(None) };
        let (before, after) = line.split_at(at);
        let value = after.get(self.sent.needle().len()..).unwrap_or_default();
        let end = memchr::memchr(b'"', value).context("an event that is cut off")?;
        let sent: u64 = std::str::from_utf8(value.get(..end).unwrap_or_default())?.parse()?;
        let near = before.get(before.len().saturating_sub(NEAR)..).unwrap_or_default();
        let is_last = self.last.find(near).is_some() || self.last.find(value.get(..NEAR).unwrap_or(value)).is_some();
        Ok(Some((Duration::from_nanos(sent), is_last)))
    }
}

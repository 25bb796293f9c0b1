//! HTTP/1.1 over TCP or TLS. Names are resolved by rk-resolve from `/etc/resolv.conf`: a static glibc must never load NSS.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{
        Client,
        connect::{Connected, Connection},
    },
    rt::{TokioExecutor, TokioIo},
};
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::{config::Config, tls::Tls};

/// One address gets this long to accept; a mirror that is down must not hold up the next one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// TLS handshakes are slow on emulated CPUs.
const TLS_TIMEOUT: Duration = Duration::from_secs(15);
/// Name lookups, all servers and retries together.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);
/// Addresses of a host that are tried.
const MOST_ADDRESSES: usize = 4;

/// A pooled HTTP client.
#[derive(Clone)]
pub(crate) struct Transport {
    client: Client<Connector, Full<Bytes>>,
    response_timeout: Duration,
}

impl Transport {
    /// Trusts and shows what `config` tells; silent answers are given up after its idle timeout.
    pub fn new(config: &Config) -> Result<Self, rustls::Error> {
        let connector = Connector { tls: Tls::new(config)? };
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(Duration::from_secs(15))
            .pool_max_idle_per_host(4)
            .build(connector);
        Ok(Self { client, response_timeout: config.idle_timeout })
    }

    /// Longest silence within one answer.
    pub fn idle(&self) -> Duration {
        self.response_timeout
    }

    /// Sends a request and waits for the head of the answer. The error is a sentence.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, String> {
        match timeout(self.response_timeout + CONNECT_TIMEOUT + TLS_TIMEOUT, self.client.request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(innermost(&error)),
            Err(_) => {
                Err(format!("no answer within {} s", (self.response_timeout + CONNECT_TIMEOUT + TLS_TIMEOUT).as_secs()))
            }
        }
    }
}

/// The client's own layers say nothing of use ("client error (Connect)"); the cause does.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[derive(Clone)]
struct Connector {
    tls: Tls,
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<Link>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Link>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let tls = self.tls.of(uri.authority().map_or("", |authority| authority.as_str()));
        Box::pin(async move { Ok(TokioIo::new(dial(&uri, tls).await?)) })
    }
}

async fn dial(uri: &Uri, tls: TlsConnector) -> io::Result<Link> {
    let https = uri.scheme_str() == Some("https");
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let tcp = connect(host, uri.port_u16().unwrap_or(if https { 443 } else { 80 })).await?;
    tcp.set_nodelay(true)?;
    if !https {
        return Ok(Link(Box::new(tcp)));
    }
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let stream = timeout(TLS_TIMEOUT, tls.connect(name, tcp))
        .await
        .map_err(|_| io::Error::other(format!("TLS handshake with {host} timed out")))?
        .map_err(|e| io::Error::other(format!("TLS handshake with {host}: {e}")))?;
    Ok(Link(Box::new(stream)))
}

async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::other(format!("lookup {host}: no addresses"));
    for ip in lookup(host).await? {
        let address = SocketAddr::new(ip, port);
        last = match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => io::Error::other(format!("dial tcp {address}: {error}")),
            Err(_) => io::Error::other(format!("dial tcp {address}: connection timed out")),
        };
    }
    Err(last)
}

async fn lookup(host: &str) -> io::Result<Vec<IpAddr>> {
    let fail = |error: &dyn std::fmt::Display| io::Error::other(format!("lookup {host}: {error}"));
    let found = timeout(LOOKUP_TIMEOUT, rk_resolve::lookup(host)).await.map_err(|_| fail(&"i/o timeout"))?;
    let mut ips = found.map_err(|error| fail(&error))?;
    ips.truncate(MOST_ADDRESSES);
    Ok(ips)
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

struct Link(Box<dyn Duplex>);

impl Connection for Link {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Link {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Link {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

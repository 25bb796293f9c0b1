//! The accept loop: TLS, limits and graceful shutdown.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use http::Request;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::AsyncWrite;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::body::BoxError;
use super::coalesced::{Turns, coalesced};
use super::connection::{Connection, Peer};
use super::resting::{Resting, Streams, streams};
use crate::authn::ClientCertificates;
use crate::server::Core;

/// Bounds on connections. Each bound keeps one kind of hostile or broken client from harming the others.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections open at once; an idle one that is ready holds about 40 KiB.
    pub connections: usize,
    /// How long a TLS handshake may take.
    pub handshake: Duration,
    /// How long a request's header may take, and how long a connection may idle between requests; longer than clients keep
    /// unused connections, so that they rarely send into one that is being closed.
    pub header: Duration,
    /// Requests in flight on one HTTP/2 connection; upstream's figure.
    pub streams: u32,
    /// Streams that a client may reset before they were served (rapid reset, CVE-2023-44487).
    pub resets: usize,
    /// Size of all headers of a request.
    pub header_bytes: u32,
    /// How long requests in flight may go on after shutdown began.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 12_000,
            handshake: Duration::from_secs(10),
            header: Duration::from_secs(120),
            streams: 250,
            resets: 20,
            header_bytes: 64 * 1024,
            drain: Duration::from_secs(10),
        }
    }
}

/// Accepts and serves connections until `shutdown`; then drains and returns.
pub async fn serve_listener(
    core: Arc<Core>,
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    certificates: Arc<ClientCertificates>,
    limits: Limits,
    shutdown: CancellationToken,
) {
    let acceptor = TlsAcceptor::from(tls);
    let slots = Arc::new(Semaphore::new(limits.connections));
    let tracker = TaskTracker::new();
    let limits = Arc::new(limits);
    loop {
        let slot = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            slot = Arc::clone(&slots).acquire_owned() => slot,
        };
        let Ok(slot) = slot else { break };
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors or a connection that died in the backlog: both pass.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let connection = serve_connection(
            Arc::clone(&core),
            stream,
            acceptor.clone(),
            Arc::clone(&certificates),
            Arc::clone(&limits),
            shutdown.clone(),
        );
        let task = async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended");
            }
            drop(slot);
        };
        tracker.spawn(task.boxed());
    }
    tracker.close();
    if tokio::time::timeout(limits.drain, tracker.wait()).await.is_err() {
        tracing::info!(connections = tracker.len(), "shutdown leaves connections behind that did not end in time");
    }
}

async fn serve_connection(
    core: Arc<Core>,
    stream: TcpStream,
    acceptor: TlsAcceptor,
    certificates: Arc<ClientCertificates>,
    limits: Arc<Limits>,
    shutdown: CancellationToken,
) -> Result<(), BoxError> {
    stream.set_nodelay(true)?;
    let address = stream.peer_addr()?;
    let shaken = tokio::time::timeout(limits.handshake, acceptor.accept(stream)).await;
    if !matches!(shaken, Ok(Ok(_))) {
        core.metrics.access.handshake_failed();
    }
    let stream = shaken??;
    let (_, session) = stream.get_ref();
    let peer = match session.peer_certificates() {
        None | Some([]) => Peer::Stranger,
        Some(chain) => match certificates.identify(chain) {
            Ok((user, until)) => Peer::Certified { user: Arc::new(user), until },
            Err(error) => Peer::Refused(error.to_string().into()),
        },
    };
    let h2 = session.alpn_protocol() == Some(b"h2");
    let connection = Arc::new(Connection { peer, address: Some(address) });
    let service = service_fn(move |request: Request<Incoming>| {
        let core = Arc::clone(&core);
        let connection = Arc::clone(&connection);
        async move {
            let request = request.map(|body| body.map_err(|error| -> BoxError { error.into() }).boxed_unsync());
            Ok::<_, std::convert::Infallible>(core.handle(request, &connection).await)
        }
    });
    let (executor, mut resting) = streams();
    let builder = builder(&limits, h2, executor);
    // An upgraded connection of HTTP/1 leaves this task, and with it the turns.
    let (stream, turns) = coalesced(stream, h2);
    let serving = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(serving);
    tokio::select! {
        result = poll_fn(|cx| turn(&mut resting, &turns, serving.as_mut(), cx)) => return result,
        () = shutdown.cancelled() => serving.as_mut().graceful_shutdown(),
    }
    poll_fn(|cx| turn(&mut resting, &turns, serving.as_mut(), cx)).await
}

/// A turn of a connection: the streams that rest come first, so that it takes along what they say.
fn turn<S: AsyncWrite + Unpin, C: Future>(
    resting: &mut Resting,
    turns: &Turns<S>,
    connection: Pin<&mut C>,
    cx: &mut Context<'_>,
) -> Poll<C::Output> {
    let all = resting.poll(cx);
    turns.poll(connection, all, cx)
}

fn builder(limits: &Limits, h2: bool, executor: Streams) -> auto::Builder<Streams> {
    // ALPN already told the protocol: no sniffing, so no unbounded wait for a first byte.
    let builder = auto::Builder::new(executor);
    let mut builder = if h2 { builder.http2_only() } else { builder.http1_only() };
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header)
        .max_buf_size(limits.header_bytes as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_pending_accept_reset_streams(limits.resets)
        .max_local_error_reset_streams(limits.resets * 8)
        .max_header_list_size(limits.header_bytes)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(60));
    builder
}

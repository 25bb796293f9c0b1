//! The listener: a bounded number of connections, a bounded handshake, the caller's role beside every request.

use crate::log;
use crate::opening::Opening;
use crate::server::Api;
use crate::trust::{Peer, TrustError, judge};
use futures::FutureExt as _;
use rk_machine_proto::{MAX_REQUEST, MachineServer};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;
use tower::{Layer, Service};

/// Connections at once: a few operators with a few streams each; every one costs about 100 KiB.
const MOST_CONNECTIONS: usize = 32;
/// Streams of one connection.
const MOST_STREAMS: u32 = 16;
/// A TLS handshake takes one round trip; slow boards take a second for the arithmetic. What HTTP/2 begins with has as long again.
const HANDSHAKE: Duration = Duration::from_secs(15);
/// Dead connections are found by pings that go unanswered.
const PING: Duration = Duration::from_secs(30);
/// How long after the last connection the program's pages are let go of: an operator's next call comes sooner.
const QUIET: Duration = Duration::from_secs(5);

/// What the listener needs.
pub struct Settings {
    /// Where to listen.
    pub listener: TcpListener,
    /// TLS.
    pub acceptor: TlsAcceptor,
    /// Clients show no certificate.
    pub maintenance: bool,
}

/// Serves until the process ends.
///
/// # Errors
/// The listener itself failed.
pub async fn run(settings: Settings, api: Api) -> Result<(), Failure> {
    let (sender, receiver) = mpsc::channel(4);
    tokio::spawn(accept(settings, sender).boxed());
    let service = MachineServer::new(api).max_decoding_message_size(MAX_REQUEST);
    tonic::transport::Server::builder()
        .max_concurrent_streams(MOST_STREAMS)
        .initial_connection_window_size(1 << 20)
        .initial_stream_window_size(256 << 10)
        .http2_keepalive_interval(Some(PING))
        .http2_keepalive_timeout(Some(PING))
        .http2_max_header_list_size(16 << 10)
        .layer(Authorized)
        .add_service(service)
        .serve_with_incoming(ReceiverStream::new(receiver))
        .await
        .map_err(Failure::Serve)
}

/// Why serving ended.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The address cannot be listened on.
    #[error("listening on {address}")]
    Listen {
        /// Where.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// Certificates are of no use.
    #[error("setting up trust")]
    Trust(#[from] TrustError),
    /// The server gave up.
    #[error("serving the machine API")]
    Serve(#[source] tonic::transport::Error),
}

/// A place among the connections that are open at once.
struct Place {
    left: Arc<Notify>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.left.notify_one();
    }
}

/// Gives back the pages of the program when nobody has called for a while, and first what starting took: most of a node's life nobody
/// calls.
async fn rest(room: Arc<Semaphore>, left: Arc<Notify>) {
    loop {
        tokio::time::sleep(QUIET).await;
        // One place is held for whoever comes next. If another is taken, somebody is here again, and will leave.
        if room.available_permits() + 1 >= MOST_CONNECTIONS
            && let Err(err) = rk_sys::release_program()
        {
            log::info(log::chain(&err));
            return;
        }
        left.notified().await;
    }
}

async fn accept(settings: Settings, sender: mpsc::Sender<io::Result<Session>>) {
    let (room, left) = (Arc::new(Semaphore::new(MOST_CONNECTIONS)), Arc::new(Notify::new()));
    tokio::spawn(rest(Arc::clone(&room), Arc::clone(&left)).boxed());
    let Settings { listener, acceptor, maintenance } = settings;
    loop {
        // Room first: a caller beyond the bound waits in the kernel's queue and costs nothing here.
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(err) => {
                log::info(format_args!("accepting a connection: {err}"));
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (acceptor, sender) = (acceptor.clone(), sender.clone());
        let place = Place { left: Arc::clone(&left), _permit: permit };
        let task = async move {
            let _ = stream.set_nodelay(true);
            match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => {
                    let peer = if maintenance { Peer::Anyone } else { peer_of(&stream) };
                    // A server that is gone takes no more sessions.
                    let opening = Opening::within(HANDSHAKE);
                    let _ = sender.send(Ok(Session { stream, peer, opening, _place: place })).await;
                }
                Ok(Err(err)) => log::info(format_args!("a client was refused: {err}")),
                Err(_) => log::info("a client did not finish its TLS handshake"),
            }
        };
        tokio::spawn(task.boxed());
    }
}

fn peer_of(stream: &TlsStream<TcpStream>) -> Peer {
    let (_, connection) = stream.get_ref();
    match connection.peer_certificates().and_then(<[_]>::first) {
        Some(certificate) => Peer::of_certificate(certificate),
        // TLS demands a certificate; without one nothing is allowed.
        None => Peer::Known { name: String::new(), role: None },
    }
}

/// A connection and who is at its other end.
pub struct Session {
    stream: TlsStream<TcpStream>,
    peer: Peer,
    opening: Opening,
    _place: Place,
}

impl Connected for Session {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Session {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let session = self.get_mut();
        session.opening.poll_read(&mut session.stream, cx, buf)
    }
}

impl AsyncWrite for Session {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Judges every request before its body is read.
#[derive(Debug, Clone, Copy)]
struct Authorized;

impl<S> Layer<S> for Authorized {
    type Service = Gate<S>;

    fn layer(&self, inner: S) -> Gate<S> {
        Gate { inner }
    }
}

#[derive(Debug, Clone)]
struct Gate<S> {
    inner: S,
}

impl<S, B, R> Service<http::Request<B>> for Gate<S>
where
    S: Service<http::Request<B>, Response = http::Response<R>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    R: Default + Send + 'static,
{
    type Response = http::Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        // A request without a peer came by no connection of ours.
        let nobody = Peer::Known { name: String::new(), role: None };
        let peer = request.extensions().get::<Peer>().unwrap_or(&nobody);
        match judge(peer, request.uri().path()) {
            Ok(()) => Box::pin(self.inner.call(request)),
            Err(status) => {
                log::info(format_args!("{} refused to {:?}: {}", request.uri().path(), peer.name(), status.message()));
                let response = status.into_http();
                Box::pin(std::future::ready(Ok(response)))
            }
        }
    }
}

//! Accepting connections.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use super::auth::User;
use super::body::{Body, text};
use super::health::Health;
use super::read_only;
use super::routes::{self, State};
use crate::configuration::TlsRules;
use crate::heartbeat::Heartbeat;
use crate::join::{ServingCert, server_roots};
use crate::wire::wire;

/// Connections at the same time; followed logs and shells hold theirs for long.
const CONNECTIONS: usize = 512;
/// Those without TLS at the same time: nobody knows them, and a few scrapers and probes are all there should be.
const READERS: usize = 32;
/// The head of a request must be there within this.
const HEADERS: Duration = Duration::from_secs(30);
/// A client must finish its handshake within this.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Pause after a failed accept (out of file descriptors).
const ACCEPT_RETRY: Duration = Duration::from_millis(200);

fn tls(ca_pem: &str, serving: ServingCert, rules: &TlsRules) -> Result<TlsAcceptor, String> {
    let provider = Arc::new(rules.provider());
    let roots = server_roots(ca_pem).map_err(|e| e.to_string())?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(|e| e.to_string())?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(rules.versions())
        .map_err(|e| e.to_string())?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(serving));
    // Upgrades (exec, attach, port-forward) exist in HTTP/1.1 only.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Serves HTTPS for ever. The address is tried again until it can be had.
pub async fn serve(listen: SocketAddr, ca_pem: String, serving: ServingCert, state: Arc<State>) {
    let acceptor = match tls(&ca_pem, serving, &state.context.options.tls) {
        Ok(acceptor) => acceptor,
        Err(error) => return tracing::error!("the kubelet's server cannot start: {error}"),
    };
    accept(bind(listen).await, CONNECTIONS, |stream| connection(acceptor.clone(), stream, state.clone())).await;
}

/// Accepts connections for ever and serves each in a task of its own, so many at the same time: others wait in the kernel's queue.
async fn accept<F>(listener: TcpListener, most: usize, serve: impl Fn(TcpStream) -> F)
where
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    let slots = Arc::new(Semaphore::new(most));
    loop {
        // The semaphore is never closed.
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        let (stream, client) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("accepting a connection: {error}");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let served = serve(stream);
        let task = async move {
            let _slot = slot;
            if let Err(error) = served.await {
                tracing::debug!(%client, "a connection ended: {error}");
            }
        };
        tokio::spawn(task.boxed());
    }
}

async fn bind(listen: SocketAddr) -> TcpListener {
    loop {
        match TcpListener::bind(listen).await {
            Ok(listener) => return listener,
            Err(error) => {
                tracing::error!(%listen, "the address cannot be bound, trying again: {error}");
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
        }
    }
}

async fn connection(acceptor: TlsAcceptor, stream: TcpStream, state: Arc<State>) -> Result<(), String> {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!("TCP_NODELAY: {error}");
    }
    let stream = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream))
        .await
        .map_err(|e| e.to_string())?
        .map_err(|e| e.to_string())?;
    let certificate = stream.get_ref().1.peer_certificates().and_then(|c| c.first()).and_then(User::of_certificate);
    let service = service_fn(move |request| {
        let (state, certificate) = (state.clone(), certificate.clone());
        async move { Ok::<_, Infallible>(routes::handle(state, certificate, request).await) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .serve_connection(wire(stream), service)
        .with_upgrades()
        .await
        .map_err(|e| e.to_string())
}

/// What answers requests without TLS, of one type as connections are.
type Answer = Arc<dyn Fn(Request<Incoming>) -> BoxFuture<'static, Response<Body>> + Send + Sync>;

/// Serves the read-only paths in the clear for ever, to whoever asks.
pub async fn serve_read_only(listen: SocketAddr, state: Arc<State>) {
    let answer = move |request: Request<Incoming>| read_only::handle(state.clone(), request).boxed();
    serve_in_the_clear(listen, Arc::new(answer)).await;
}

/// Serves `/healthz` in the clear, on loopback, for ever.
pub async fn serve_healthz(listen: SocketAddr, sync_loop: Heartbeat) {
    let health = Health::new(sync_loop);
    let answer = move |request: Request<Incoming>| std::future::ready(healthz(&health, request.uri())).boxed();
    serve_in_the_clear(listen, Arc::new(answer)).await;
}

async fn serve_in_the_clear(listen: SocketAddr, answer: Answer) {
    accept(bind(listen).await, READERS, |stream| in_the_clear(stream, Arc::clone(&answer))).await;
}

fn healthz(health: &Health, uri: &Uri) -> Response<Body> {
    match uri.path().strip_prefix("/healthz") {
        Some("" | "/") => health.answer(None, uri.query()),
        Some(rest) if rest.starts_with('/') => health.answer(rest.strip_prefix('/'), None),
        _ => text(StatusCode::NOT_FOUND, "404 page not found\n"),
    }
}

/// Answers the requests of one connection without TLS, to nobody in particular.
async fn in_the_clear(stream: TcpStream, answer: Answer) -> Result<(), String> {
    let service = service_fn(move |request| {
        let answered = answer(request);
        async move { Ok::<_, Infallible>(answered.await) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .serve_connection(wire(stream), service)
        .await
        .map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_util::task::AbortOnDropHandle;

    use super::*;

    #[tokio::test]
    async fn no_more_connections_are_served_at_the_same_time_than_there_are_places() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (served, seen) = (now.clone(), most.clone());
        let serve = move |mut stream: TcpStream| {
            let (now, most) = (served.clone(), seen.clone());
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let mut byte = [0];
                let echoed = async {
                    stream.read_exact(&mut byte).await.map(drop)?;
                    stream.write_all(&byte).await
                };
                let echoed = echoed.await.map_err(|e| e.to_string());
                now.fetch_sub(1, Ordering::SeqCst);
                echoed
            }
        };
        let _accepting = AbortOnDropHandle::new(tokio::spawn(accept(listener, 2, serve)));
        let mut clients = Vec::new();
        for _ in 0..6 {
            clients.push(TcpStream::connect(address).await.unwrap());
        }
        // Each is served once those before it are done.
        for client in &mut clients {
            client.write_all(b"x").await.unwrap();
            let mut echo = [0];
            client.read_exact(&mut echo).await.unwrap();
        }
        assert_eq!(most.load(Ordering::SeqCst), 2);
    }
}

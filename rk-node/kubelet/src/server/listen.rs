//! Accepting connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use super::auth::User;
use super::body::text;
use super::health::Health;
use super::read_only;
use super::routes::{self, State};
use crate::configuration::TlsRules;
use crate::heartbeat::Heartbeat;
use crate::join::{ServingCert, server_roots};

/// Connections at the same time; followed logs and shells hold theirs for long.
const CONNECTIONS: usize = 512;
/// Readers at the same time: nobody knows them, and a few scrapers are all there should be.
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
    let listener = bind(listen).await;
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!("accepting a connection: {error}");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let (acceptor, state) = (acceptor.clone(), state.clone());
        tokio::spawn(async move {
            let _slot = slot;
            if let Err(error) = connection(acceptor, stream, state).await {
                tracing::debug!("a connection ended: {error}");
            }
        });
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
        async move { Ok::<_, std::convert::Infallible>(routes::handle(state, certificate, request).await) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await
        .map_err(|e| e.to_string())
}

/// Serves the read-only paths in the clear for ever, to whoever asks.
pub async fn serve_read_only(listen: SocketAddr, state: Arc<State>) {
    let listener = bind(listen).await;
    let slots = Arc::new(Semaphore::new(READERS));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!("accepting a reader's connection: {error}");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let state = state.clone();
        tokio::spawn(async move {
            let _slot = slot;
            let service = service_fn(move |request| {
                let state = state.clone();
                async move { Ok::<_, std::convert::Infallible>(read_only::handle(state, request).await) }
            });
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADERS)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = served.await {
                tracing::debug!("a reader's connection ended: {error}");
            }
        });
    }
}

/// Serves `/healthz` in the clear, on loopback, for ever.
pub async fn serve_healthz(listen: SocketAddr, sync_loop: Heartbeat) {
    let health = Arc::new(Health::new(sync_loop));
    let listener = bind(listen).await;
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_RETRY).await;
            continue;
        };
        let health = Arc::clone(&health);
        tokio::spawn(async move {
            let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let uri = request.uri();
                let response = match uri.path().strip_prefix("/healthz") {
                    Some("" | "/") => health.answer(None, uri.query()),
                    Some(rest) if rest.starts_with('/') => health.answer(rest.strip_prefix('/'), None),
                    _ => text(StatusCode::NOT_FOUND, "404 page not found\n"),
                };
                async move { Ok::<_, std::convert::Infallible>(response) }
            });
            if let Err(error) = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!("a health connection ended: {error}");
            }
        });
    }
}

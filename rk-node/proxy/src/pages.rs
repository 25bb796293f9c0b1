//! Small pages over plain HTTP: one answer for each path, to a few clients at a time.

use std::{convert::Infallible, net::Ipv6Addr, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::FutureExt as _;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, sync::Semaphore};

/// Load balancers probe every few seconds; more connections at once than this are an attack.
const MAX_CONNECTIONS: usize = 64;
/// A probe that sends nothing is cut off.
const PATIENCE: Duration = Duration::from_secs(10);

/// Listens at a port of every address of this node.
pub(crate) async fn everywhere(port: u16) -> std::io::Result<TcpListener> {
    match TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).await {
        Ok(listener) => Ok(listener),
        // Without IPv6 in the kernel.
        Err(_) => TcpListener::bind(("0.0.0.0", port)).await,
    }
}

/// Answers for ever, by the path that is asked for.
///
/// # Errors
/// Connections cannot be accepted any more.
pub(crate) async fn serve(
    listener: TcpListener,
    answer: impl Fn(&str) -> Response<Full<Bytes>> + Clone + Send + 'static,
) -> std::io::Result<()> {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let (stream, _) = listener.accept().await?;
        let Ok(slot) = slots.clone().try_acquire_owned() else { continue };
        let answer = answer.clone();
        let task = async move {
            let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                let response = answer(request.uri().path());
                async move { Ok::<_, Infallible>(response) }
            });
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(PATIENCE).keep_alive(false);
            let _ = tokio::time::timeout(PATIENCE, http.serve_connection(TokioIo::new(stream), service)).await;
            drop(slot);
        };
        tokio::spawn(task.boxed());
    }
}

/// A page of this media type, which browsers must not guess.
pub(crate) fn page(status: StatusCode, media_type: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static(media_type));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

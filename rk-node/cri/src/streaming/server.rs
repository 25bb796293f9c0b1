use futures::FutureExt as _;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rk_streaming::Body;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::session;
use super::tickets::Wish;
use crate::runtime::Runtime;

/// Connections whose sessions have not begun yet: whatever runs in the node's network can make some, and none is to take all descriptors.
const OPENING: usize = 128;
/// How long a client may take until its session begins, whatever else it asks. The kubelet, on this machine, asks as soon as it is
/// connected.
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves streaming sessions until the task is dropped.
pub(crate) async fn serve(runtime: Arc<Runtime>, listener: TcpListener) {
    let places = Arc::new(Semaphore::new(OPENING));
    loop {
        // The semaphore is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors: others give theirs back.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let runtime = runtime.clone();
        let task = async move {
            let _place = place;
            open(stream, PATIENCE, move |request| answer(runtime.clone(), request)).await;
        };
        tokio::spawn(task.boxed());
    }
}

/// Hears what a client wants and ends there: the session goes on with the connection in a task of its own.
async fn open(stream: TcpStream, patience: Duration, answer: impl Fn(Request<Incoming>) -> Response<Body>) {
    let service = service_fn(move |request| std::future::ready(Ok::<_, Infallible>(answer(request))));
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades();
    match tokio::time::timeout(patience, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a streaming connection ended"),
        Err(_) => tracing::debug!("a streaming connection was no session in time"),
    }
}

fn answer(runtime: Arc<Runtime>, request: Request<Incoming>) -> Response<Body> {
    let token = request.uri().path().rsplit('/').next().unwrap_or_default();
    match runtime.tickets.redeem(token) {
        Some(Wish::Exec { container, cmd, options }) => rk_streaming::serve_exec(request, options, move |streams| {
            session::exec(runtime, container, cmd, options, streams)
        }),
        Some(Wish::Attach { container, options }) => rk_streaming::serve_exec(request, options, move |streams| {
            session::attach(runtime, container, options, streams)
        }),
        Some(Wish::PortForward { sandbox, ports }) => {
            rk_streaming::serve_port_forward(request, ports, session::connector(runtime, sandbox))
        }
        None => {
            let mut response = Response::new(Body::from("this URL is unknown, used up or expired\n"));
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio_util::task::AbortOnDropHandle;

    use super::*;

    /// Whether the place of a client is free again while it still says `words`, over and over, and reads nothing.
    async fn lets_go_of(words: &'static [u8]) -> bool {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let said = AbortOnDropHandle::new(tokio::spawn(async move {
            while !words.is_empty() && client.write_all(words).await.is_ok() {}
            std::future::pending::<()>().await;
            drop(client);
        }));
        let opened = open(stream, Duration::from_millis(50), |_| Response::new(Body::from("no\n")));
        let ended = tokio::time::timeout(Duration::from_secs(30), opened).await;
        drop(said);
        ended.is_ok()
    }

    #[tokio::test]
    async fn a_client_that_asks_for_nothing_keeps_no_place() {
        assert!(lets_go_of(b"").await, "a silent one");
        assert!(
            lets_go_of(b"GET /exec/0 HTTP/1.1\r\nhost: n\r\n\r\n").await,
            "one that never stops to ask for what is not there"
        );
    }
}

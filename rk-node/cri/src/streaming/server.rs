use std::convert::Infallible;
use std::sync::Arc;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rk_streaming::Body;
use tokio::net::TcpListener;

use super::session;
use super::tickets::Wish;
use crate::runtime::Runtime;

/// Serves streaming sessions until the task is dropped.
pub(crate) async fn serve(runtime: Arc<Runtime>, listener: TcpListener) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors: others give theirs back.
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            continue;
        };
        let runtime = runtime.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let runtime = runtime.clone();
                async move { Ok::<_, Infallible>(answer(runtime, request)) }
            });
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "a streaming connection ended");
            }
        });
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

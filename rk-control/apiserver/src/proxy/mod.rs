//! Streams and requests that the server only passes on: logs, exec, attach and port-forward to kubelets, and the proxy verbs.
//!
//! Upgraded connections are copied byte by byte; SPDY and WebSocket look the same from here, and end where they are understood.

mod connect;
mod dial;
mod endpoints;
mod forward;
mod http_proxy;
mod kubelet;
mod log_options;
mod logs;
mod rewrite;
mod stream;
mod tls;
mod websocket;

use http::{Method, Request, Response};
use rk_api::status::Status;

use crate::handlers::Call;
use crate::http::Body;

pub(crate) use dial::handshake;
pub(crate) use endpoints::ready_endpoints;
pub(crate) use forward::{BEARER_PROTOCOL, forward};
pub use kubelet::KubeletClient;
pub(crate) use websocket::Wish;

/// Serves one of the streaming or proxying subresources.
///
/// # Errors
/// 400 for a request that names no container, 404 without the object, 502/503 when the other end does not answer.
pub async fn serve(call: &mut Call, method: &Method, request: Request<Body>) -> Result<Response<Body>, Status> {
    if call.path.subresource != "log" && call.query.get("dryRun").is_some() {
        return Err(Status::bad_request("dryRun is not supported"));
    }
    connect::admit(call).await?;
    match call.path.subresource.as_str() {
        "log" => logs::serve(call, request).await,
        "proxy" => http_proxy::serve(call, method, request).await,
        _ => stream::serve(call, request).await,
    }
}

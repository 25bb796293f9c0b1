//! Passing a request on and its answer back, upgrades included.

use std::net::SocketAddr;

use futures::FutureExt as _;
use http::header::{AUTHORIZATION, CONNECTION, HOST, SEC_WEBSOCKET_PROTOCOL, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper::client::conn::http1::SendRequest;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use rk_api::status::{Reason, Status};

use crate::audit;
use crate::http::{Body, BoxError};

/// Headers that concern one hop or the caller's identity, and are not passed on.
const DROPPED: &[HeaderName] = &[AUTHORIZATION, HOST, TRANSFER_ENCODING];
const HOP_BY_HOP: &[&str] =
    &["keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization", "te", "trailer"];
/// WebSocket subprotocol in which browsers carry their token.
pub(crate) const BEARER_PROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";

/// Whether a request wants to leave HTTP.
pub(super) fn is_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(UPGRADE)
        && headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.split(',').any(|token| token.trim().eq_ignore_ascii_case("upgrade")))
}

/// The headers that the backend gets.
fn passed_on(headers: &HeaderMap, address: SocketAddr) -> HeaderMap {
    let upgrade = is_upgrade(headers);
    let mut out = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let dropped = DROPPED.contains(name)
            || HOP_BY_HOP.contains(&name.as_str())
            || name.as_str().starts_with("impersonate-")
            || (!upgrade && (*name == CONNECTION || *name == UPGRADE));
        if dropped {
            continue;
        }
        if *name == SEC_WEBSOCKET_PROTOCOL
            && let Some(rest) = without_token(value)
        {
            out.append(name, rest);
            continue;
        }
        out.append(name, value.clone());
    }
    if let Ok(host) = HeaderValue::from_str(&address.to_string()) {
        out.insert(HOST, host);
    }
    out
}

/// The subprotocols without the one that is a token; `None` when there is none to remove.
fn without_token(value: &HeaderValue) -> Option<HeaderValue> {
    let text = value.to_str().ok().filter(|text| text.contains(BEARER_PROTOCOL))?;
    let rest: Vec<&str> =
        text.split(',').map(str::trim).filter(|protocol| !protocol.starts_with(BEARER_PROTOCOL)).collect();
    HeaderValue::from_str(&rest.join(", ")).ok()
}

/// Copies bytes both ways, once both connections are upgraded, until one ends.
async fn relay(client: OnUpgrade, backend: OnUpgrade, address: SocketAddr) {
    match tokio::try_join!(client, backend) {
        Ok((client, backend)) => {
            let (mut client, mut backend) = (TokioIo::new(client), TokioIo::new(backend));
            if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut backend).await {
                tracing::debug!(%error, %address, "stream ended");
            }
        }
        Err(error) => tracing::debug!(%error, %address, "upgrade failed"),
    }
}

/// Sends a request to a backend and returns its answer. When both sides agree to upgrade, their bytes are copied until one ends.
pub(crate) async fn forward(
    mut sender: SendRequest<Body>,
    address: SocketAddr,
    target: &str,
    mut request: Request<Body>,
) -> Result<Response<Body>, Status> {
    let uri: Uri = target.parse().map_err(|_| Status::bad_request(format!("cannot proxy to path {target:?}")))?;
    let upgrade = is_upgrade(request.headers());
    let client = upgrade.then(|| hyper::upgrade::on(&mut request));
    let (parts, body) = request.into_parts();
    let mut outgoing = Request::new(body);
    *outgoing.method_mut() = parts.method;
    *outgoing.uri_mut() = uri;
    *outgoing.headers_mut() = passed_on(&parts.headers, address);
    let mut answer = sender.send_request(outgoing).await.map_err(|error| {
        let mut status = Status::new(Reason::ServiceUnavailable, format!("error trying to reach service: {error}"));
        status.code = 503;
        status
    })?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        let mut response = answer.map(|body| body.map_err(|error| -> BoxError { error.into() }).boxed_unsync());
        response.headers_mut().remove(CONNECTION);
        response.headers_mut().remove(TRANSFER_ENCODING);
        return Ok(response);
    }
    let Some(client) = client else {
        return Err(Status::internal("the backend upgraded a connection that nobody asked it to"));
    };
    let backend = hyper::upgrade::on(&mut answer);
    let recording = audit::held();
    let task = async move {
        relay(client, backend, address).await;
        drop(recording);
    };
    tokio::spawn(task.boxed());
    let (parts, _) = answer.into_parts();
    let mut response = Response::new(http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = parts.headers;
    Ok(response)
}

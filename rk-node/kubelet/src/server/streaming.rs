//! exec, attach, port-forward: the CRI gives a URL, and from then on bytes only pass through.
//!
//! The client's upgrade request (WebSocket or SPDY/3.1) goes to the CRI's streaming server with its headers as they are; its
//! answer comes back likewise. Which protocol is spoken is between the two ends.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use http::{Request, Response, StatusCode, Uri, Version, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rk_cri_api::v1 as cri;
use tokio::net::TcpStream;

use super::body::{Body, Refusal, of_runtime, refuse};
use super::params::Params;
use super::relay::relay;
use super::routes::State;
use crate::pod::spec;
use crate::wire::wire;

/// A streaming server that does not answer at once is broken: it is on this machine.
const CONNECT: Duration = Duration::from_secs(10);

/// Namespace and name of a pod, and its UID when one is given.
pub type Target<'a> = (&'a str, &'a str, Option<&'a str>);
type Answer = Result<Response<Body>, Refusal>;

fn internal(error: impl std::fmt::Display) -> Refusal {
    refuse(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}

/// `/exec`.
pub async fn exec(
    state: &Arc<State>,
    request: Request<Incoming>,
    target: Target<'_>,
    container: &str,
    params: &Params,
) -> Answer {
    let pod = state.pod(target.0, target.1, target.2)?;
    let container = state.running(&pod, container).await?;
    let cmd = params.all("command");
    if cmd.is_empty() {
        return Err(refuse(StatusCode::BAD_REQUEST, "you must specify at least 1 command"));
    }
    let (stdin, stdout, stderr, tty) = streams(params)?;
    let exec = cri::ExecRequest { container_id: container.id, cmd, tty, stdin, stdout, stderr, ..Default::default() };
    let url = state.context.runtime.exec(exec).await.map_err(|error| of_runtime(&error))?;
    forward(request, &url, state.context.options.pace.stream_idle).await
}

/// `/attach`.
pub async fn attach(
    state: &Arc<State>,
    request: Request<Incoming>,
    target: Target<'_>,
    container: &str,
    params: &Params,
) -> Answer {
    let pod = state.pod(target.0, target.1, target.2)?;
    let container_id = state.running(&pod, container).await?.id;
    let (stdin, stdout, stderr, _) = streams(params)?;
    // Whether there is a terminal was decided when the container was made.
    let tty = spec::find_container(&pod, container).is_some_and(|(_, c)| c.tty == Some(true));
    let attach = cri::AttachRequest { container_id, stdin, tty, stdout, stderr: stderr && !tty, ..Default::default() };
    let url = state.context.runtime.attach(attach).await.map_err(|error| of_runtime(&error))?;
    forward(request, &url, state.context.options.pace.stream_idle).await
}

/// `/portForward`.
pub async fn port_forward(
    state: &Arc<State>,
    request: Request<Incoming>,
    target: Target<'_>,
    params: &Params,
) -> Answer {
    let pod = state.pod(target.0, target.1, target.2)?;
    let found = state.runtime_pod(&pod).await?;
    let sandbox =
        found.active_sandbox().ok_or_else(|| refuse(StatusCode::NOT_FOUND, "the pod has no running sandbox"))?;
    let mut ports = Vec::new();
    for value in params.all("port").iter().chain(&params.all("ports")) {
        for port in value.split(',').filter(|p| !p.is_empty()) {
            let number = port.parse::<u16>().ok().filter(|p| *p > 0);
            ports.push(
                number
                    .map(i32::from)
                    .ok_or_else(|| refuse(StatusCode::BAD_REQUEST, format!("invalid port {port:?}")))?,
            );
        }
    }
    let forwarded = state.context.runtime.port_forward(&sandbox.id, ports).await;
    let url = forwarded.map_err(|error| of_runtime(&error))?;
    forward(request, &url, state.context.options.pace.stream_idle).await
}

/// stdin, stdout, stderr, tty: the kubelet's names for them, and the API's.
fn streams(params: &Params) -> Result<(bool, bool, bool, bool), Refusal> {
    let stdin = params.is_set(&["input", "stdin"]);
    let stdout = params.is_set(&["output", "stdout"]);
    let tty = params.is_set(&["tty"]);
    // A terminal has one output.
    let stderr = params.is_set(&["error", "stderr"]) && !tty;
    if !stdin && !stdout && !stderr {
        return Err(refuse(StatusCode::BAD_REQUEST, "you must specify at least 1 of stdin, stdout, stderr"));
    }
    Ok((stdin, stdout, stderr, tty))
}

/// Passes a request on to the runtime's streaming server, and then bytes, until none came for `idle`.
async fn forward(mut request: Request<Incoming>, url: &str, idle: Duration) -> Answer {
    let uri: Uri =
        url.parse().map_err(|e| internal(format!("the runtime answered with a strange URL {url:?}: {e}")))?;
    let authority =
        uri.authority().ok_or_else(|| internal(format!("the runtime answered with a strange URL {url:?}")))?.clone();
    let address = format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80));
    let stream = tokio::time::timeout(CONNECT, TcpStream::connect(&address))
        .await
        .map_err(|_| internal(format!("connecting to the streaming server {address}: timeout")))?
        .map_err(|e| internal(format!("connecting to the streaming server {address}: {e}")))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(wire(stream)).await.map_err(internal)?;
    let task = async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!("a streaming connection ended: {error}");
        }
    };
    tokio::spawn(task.boxed());
    let client = hyper::upgrade::on(&mut request);
    let mut onward = Request::new(Empty::<bytes::Bytes>::new());
    *onward.method_mut() = request.method().clone();
    *onward.version_mut() = Version::HTTP_11;
    *onward.uri_mut() =
        uri.path_and_query().map_or_else(|| "/".into(), |p| p.as_str().to_owned()).parse().map_err(internal)?;
    *onward.headers_mut() = request.headers().clone();
    // Our client's credentials and our own name are nobody's business over there.
    for name in [header::AUTHORIZATION, header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
        onward.headers_mut().remove(name);
    }
    onward.headers_mut().insert(header::HOST, authority.as_str().parse().map_err(internal)?);
    let mut answer =
        sender.send_request(onward).await.map_err(|e| internal(format!("asking the streaming server: {e}")))?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        let (parts, body) = answer.into_parts();
        let bytes =
            http_body_util::Limited::new(body, 64 * 1024).collect().await.map(|b| b.to_bytes()).unwrap_or_default();
        let mut response = Response::from_parts(parts, super::body::full(bytes));
        response.headers_mut().remove(header::TRANSFER_ENCODING);
        return Ok(response);
    }
    let runtime = hyper::upgrade::on(&mut answer);
    let task = async move {
        let (client, runtime) = match tokio::try_join!(client, runtime) {
            Ok(both) => both,
            Err(error) => return tracing::debug!("an upgrade failed: {error}"),
        };
        if let Err(error) = relay(TokioIo::new(client), TokioIo::new(runtime), idle).await {
            tracing::debug!("a stream ended: {error}");
        }
    };
    tokio::spawn(task.boxed());
    let (parts, _) = answer.into_parts();
    Ok(Response::from_parts(parts, super::body::full(bytes::Bytes::new())))
}

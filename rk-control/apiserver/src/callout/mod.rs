//! Requests that the server itself makes of others over HTTPS: admission and conversion webhooks, as a `clientConfig` names them,
//! and connections to aggregated API servers, named alike.
//!
//! A connection is kept per place and reused while it lives; everything is bounded by the caller's deadline.

mod place;
mod review;
mod trust;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT};
use http::{Method, Request};
use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper::client::conn::http1::SendRequest;
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use crate::http::Body;
use crate::identity::Identity;
use crate::server::Core;
use place::Place;
pub(crate) use review::{ADMISSION, CONVERSION};
use trust::{Mode, Trust};

/// Longest answer that is read: an object of the largest size that is stored, in base64, with room for what surrounds it.
const ANSWER: usize = 8 * 1024 * 1024;
/// Most connections that are kept idle; one per place is what sequential calls need.
const IDLE: usize = 64;
/// How long an aggregated API server may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// Why a call brought nothing, in upstream's words where clients look for them.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CalloutError(String);

impl CalloutError {
    fn new(why: impl std::fmt::Display) -> Self {
        Self(why.to_string())
    }
}

type Sender = SendRequest<Body>;

/// Makes the calls.
pub struct Callouts {
    trust: Trust,
    idle: Mutex<HashMap<String, Sender>>,
}

impl Callouts {
    /// Who makes calls as this front proxy, where it tells who it is.
    pub(crate) fn new(front_proxy: Arc<Identity>) -> Self {
        Self { trust: Trust::new(front_proxy), idle: Mutex::default() }
    }

    /// Posts a JSON object to the place that a `clientConfig` (`url` or `service`, `caBundle`) names, and reads the object that comes
    /// back. The deadline counts for everything and is told to the other side.
    ///
    /// # Errors
    /// The place cannot be found, reached, or trusted, or did not answer with an object in time.
    pub async fn post(
        &self,
        core: &Core,
        client_config: &Value,
        body: &Value,
        limit: Duration,
    ) -> Result<Value, CalloutError> {
        let place = Place::of(client_config)?;
        let target = format!("{}?timeout={}s", place.path, limit.as_secs());
        let told = |why: CalloutError| CalloutError(format!("Post \"https://{}{target}\": {why}", place.authority()));
        let exchange = self.exchange(core, client_config, &place, &target, body.to_string().into());
        match tokio::time::timeout(limit, exchange).await {
            // What an answer says is told as it is; that there is none, with the place.
            Ok(Ok(answer)) => answer,
            Ok(Err(why)) => Err(told(why)),
            Err(_) => Err(told(CalloutError::new("context deadline exceeded"))),
        }
    }

    /// One exchange. The outer failure is that there was no answer, the inner one the answer's.
    async fn exchange(
        &self,
        core: &Core,
        client_config: &Value,
        place: &Place,
        target: &str,
        body: Bytes,
    ) -> Result<Result<Value, CalloutError>, CalloutError> {
        let bundle = client_config.get("caBundle").and_then(Value::as_str).unwrap_or_default();
        let address = place.address(core).await?;
        let key = format!("{address} {} {bundle}", place.authority());
        if let Some(mut sender) = self.take(&key) {
            // A connection that ended meanwhile is no failure of the other side: only a fresh one counts.
            if let Ok(answer) = ask(&mut sender, place, target, body.clone()).await {
                self.keep(key, sender);
                return Ok(answer);
            }
        }
        let stream = self.secured(place, address, bundle, Mode::Nobody).await?;
        let mut sender = crate::proxy::handshake(Either::Right(stream)).await.map_err(CalloutError::new)?;
        let answer = ask(&mut sender, place, target, body).await.map_err(CalloutError::new)?;
        self.keep(key, sender);
        Ok(answer)
    }

    async fn secured(
        &self,
        place: &Place,
        address: SocketAddr,
        bundle: &str,
        mode: Mode,
    ) -> Result<TlsStream<TcpStream>, CalloutError> {
        let tls = self.trust.client(bundle, mode)?;
        let stream = TcpStream::connect(address).await;
        let stream = stream.map_err(|error| CalloutError(format!("dial tcp {address}: {}", refused(&error))))?;
        stream.set_nodelay(true).map_err(CalloutError::new)?;
        let name = ServerName::try_from(place.host.clone()).map_err(CalloutError::new)?;
        TlsConnector::from(tls).connect(name, stream).await.map_err(|error| trust::explain(&error))
    }

    /// Opens a connection to an aggregated API server as the front proxy; `insecure` looks at no certificate.
    ///
    /// # Errors
    /// The place cannot be found, reached, or trusted in time.
    pub async fn connect(
        &self,
        core: &Core,
        client_config: &Value,
        insecure: bool,
    ) -> Result<(SendRequest<Body>, SocketAddr), CalloutError> {
        let place = Place::of(client_config)?;
        let bundle = client_config.get("caBundle").and_then(Value::as_str).unwrap_or_default();
        let open = async {
            let address = place.address(core).await?;
            let mode = if insecure { Mode::Unchecked } else { Mode::FrontProxy };
            let stream = self.secured(&place, address, bundle, mode).await?;
            Ok((crate::proxy::handshake(Either::Right(stream)).await.map_err(CalloutError::new)?, address))
        };
        let opened = tokio::time::timeout(CONNECT, open).await;
        opened.unwrap_or_else(|_| Err(CalloutError(format!("dial https://{}: i/o timeout", place.authority()))))
    }

    /// Asks an aggregated API server for a document, as the aggregator itself.
    ///
    /// # Errors
    /// It did not answer with an object in time.
    pub async fn discover(
        &self,
        core: &Core,
        client_config: &Value,
        insecure: bool,
        path: &str,
        limit: Duration,
    ) -> Result<Value, CalloutError> {
        let asked = async {
            let (mut sender, address) = self.connect(core, client_config, insecure).await?;
            let request = Request::builder()
                .uri(path)
                .header(HOST, address.to_string())
                .header(ACCEPT, "application/json")
                .header(crate::aggregation::USER, "system:kube-aggregator")
                .header(crate::aggregation::GROUP, "system:masters")
                .body(Empty::new().map_err(|never| match never {}).boxed_unsync())
                .map_err(CalloutError::new)?;
            let (head, body) = sender.send_request(request).await.map_err(CalloutError::new)?.into_parts();
            let body = Limited::new(body, ANSWER).collect().await;
            let body = body.map_err(|error| CalloutError(format!("the answer cannot be read: {error}")))?;
            judge(head.status, &body.to_bytes())
        };
        tokio::time::timeout(limit, asked).await.unwrap_or_else(|_| Err(CalloutError::new("context deadline exceeded")))
    }

    fn take(&self, key: &str) -> Option<Sender> {
        let sender = self.idle.lock().unwrap_or_else(PoisonError::into_inner).remove(key)?;
        (!sender.is_closed() && sender.is_ready()).then_some(sender)
    }

    fn keep(&self, key: String, sender: Sender) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|_, sender| !sender.is_closed());
        if idle.len() < IDLE {
            idle.insert(key, sender);
        }
    }
}

/// One request on a connection. The outer failure is the connection's, the inner one the answer's.
async fn ask(
    sender: &mut Sender,
    place: &Place,
    target: &str,
    body: Bytes,
) -> Result<Result<Value, CalloutError>, hyper::Error> {
    let request = Request::builder()
        .method(Method::POST)
        .uri(target)
        .header(HOST, place.authority())
        .header(USER_AGENT, "kube-apiserver-admission")
        .header(CONTENT_TYPE, "application/json")
        .header(ACCEPT, "application/json, */*")
        .body(Full::new(body).map_err(|never| match never {}).boxed_unsync());
    let request = match request {
        Ok(request) => request,
        Err(error) => return Ok(Err(CalloutError::new(error))),
    };
    let (head, body) = sender.send_request(request).await?.into_parts();
    let body = match Limited::new(body, ANSWER).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return Ok(Err(CalloutError(format!("the answer cannot be read: {error}")))),
    };
    Ok(judge(head.status, &body))
}

/// Why no connection came about, in the words of upstream's platform.
fn refused(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        std::io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        std::io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        _ => error.to_string(),
    }
}

fn judge(code: http::StatusCode, body: &[u8]) -> Result<Value, CalloutError> {
    let limits = rk_api::decode::Limits { bytes: ANSWER, ..Default::default() };
    let object = rk_api::decode::untyped_json(body, limits);
    if code.is_success() && body.is_empty() {
        let code = code.as_u16();
        return Err(CalloutError(format!(
            "0-length response with status code: {code} and content type: application/json"
        )));
    }
    if code.is_success() {
        let unread = |why: String| CalloutError(format!("couldn't get version/kind; json parse error: {why}"));
        return match object.map_err(|error| unread(error.to_string()))? {
            object @ (Value::Object(_) | Value::Null) => Ok(object),
            other => Err(unread(rk_api::patch::unfit(&other, rk_api::decode::TYPE_META))),
        };
    }
    let said = object.map(|object| rk_api::meta::text(&object, &["message"]).to_owned()).unwrap_or_default();
    if !said.is_empty() {
        return Err(CalloutError(said));
    }
    Err(CalloutError::new(match code.as_u16() {
        400 => "the server rejected our request for an unknown reason",
        401 => "the server has asked for the client to provide credentials",
        404 => "the server could not find the requested resource",
        405 => "the server does not allow this method on the requested resource",
        409 => "the server reported a conflict",
        422 => "the server rejected our request due to an error in our request",
        429 => "the server has received too many requests and has asked us to try again later",
        403 | 406 | 415 => "unknown",
        503 => "the server is currently unable to handle the request",
        504 => {
            "the server was unable to return a response in the time allotted, but may still be processing the request"
        }
        _ => "an error on the server (\"unknown\") has prevented the request from succeeding",
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_an_object_and_a_failure_tells_what_was_said() {
        let code = |code: u16| http::StatusCode::from_u16(code).unwrap();
        assert_eq!(judge(code(200), b"{\"a\":1}").unwrap()["a"], 1);
        assert!(judge(code(200), b"<html>").is_err());
        assert_eq!(judge(code(403), b"{\"message\":\"not you\"}").unwrap_err().to_string(), "not you");
        assert!(judge(code(500), b"broken").unwrap_err().to_string().contains("(\"unknown\")"));
        let why = judge(code(200), b"").unwrap_err().to_string();
        assert_eq!(why, "0-length response with status code: 200 and content type: application/json");
        assert!(judge(code(503), b"").unwrap_err().to_string().ends_with("currently unable to handle the request"));
        let none = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        assert_eq!(refused(&none), "connect: connection refused");
    }
}

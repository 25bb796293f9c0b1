//! From an HTTP request to a transport and a protocol version, or a refusal that names what is wrong.

use base64::Engine as _;
use bytes::Bytes;
use futures::FutureExt as _;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::Body;

/// SPDY's name in the `Upgrade` header.
pub(crate) const SPDY: &str = "SPDY/3.1";
/// The header in which SPDY clients offer protocol versions and servers name the chosen one.
const STREAM_VERSION: &str = "X-Stream-Protocol-Version";

/// What carries the streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// SPDY/3.1 frames on the upgraded connection.
    Spdy,
    /// WebSocket messages on the upgraded connection.
    WebSocket,
}

/// An agreed upgrade.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negotiated {
    /// The transport that the client asked for.
    pub transport: Transport,
    /// The protocol version, empty where the client named none.
    pub protocol: String,
    accept_key: Option<String>,
}

/// Why a request cannot become a stream.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Refusal {
    /// Neither SPDY nor WebSocket was asked for.
    #[error("unable to upgrade: missing upgrade headers in request: {0}")]
    NoUpgrade(String),
    /// No protocol version is known to both sides.
    #[error("unable to upgrade: unable to negotiate protocol: client supports {client:?}, server supports {server:?}")]
    NoProtocol {
        /// What the client offered.
        client: Vec<String>,
        /// What this server speaks on that transport.
        server: Vec<&'static str>,
    },
    /// The WebSocket handshake lacks a header or has a wrong one.
    #[error("websocket handshake: {0}")]
    Handshake(&'static str),
}

impl Refusal {
    /// The answer for the client.
    #[must_use]
    pub fn response(&self) -> Response<Body> {
        let status = match self {
            Self::NoProtocol { .. } => StatusCode::FORBIDDEN,
            Self::NoUpgrade(_) | Self::Handshake(_) => StatusCode::BAD_REQUEST,
        };
        let mut response = Response::new(Full::new(Bytes::from(self.to_string())));
        *response.status_mut() = status;
        response
    }
}

/// Answers a request to upgrade, and runs `session` on the connection once that is upgraded. `spdy` and `websocket` as in [`negotiate`].
pub(crate) fn upgraded<B, R>(
    mut request: Request<B>,
    (spdy, websocket): (&[&'static str], &[&'static str]),
    session: impl FnOnce(TokioIo<Upgraded>, Negotiated) -> R + Send + 'static,
) -> Response<Body>
where
    R: Future<Output = ()> + Send + 'static,
{
    let agreed = match negotiate(&request, spdy, websocket) {
        Ok(agreed) => agreed,
        Err(refusal) => return refusal.response(),
    };
    let response = agreed.response();
    let upgrade = hyper::upgrade::on(&mut request);
    let task = async move {
        match upgrade.await {
            Ok(io) => session(TokioIo::new(io), agreed).await,
            Err(error) => tracing::debug!(%error, "a streaming client left before the upgrade"),
        }
    };
    tokio::spawn(task.boxed());
    response
}

/// Picks transport and protocol. `spdy` and `websocket` list what the server speaks, best first.
fn negotiate<B>(
    request: &Request<B>,
    spdy: &[&'static str],
    websocket: &[&'static str],
) -> Result<Negotiated, Refusal> {
    let headers = request.headers();
    let upgrade = tokens(headers, header::UPGRADE.as_str());
    if upgrade.iter().any(|token| token.eq_ignore_ascii_case("websocket")) {
        return websocket_handshake(request, websocket);
    }
    if upgrade.iter().any(|token| token.eq_ignore_ascii_case(SPDY)) {
        let offered = tokens(headers, STREAM_VERSION);
        let protocol = match choose(&offered, spdy) {
            Some(protocol) => protocol.to_owned(),
            // A client that names no version speaks the first one, whose name is empty.
            None if offered.is_empty() && spdy.contains(&"") => String::new(),
            None => return Err(Refusal::NoProtocol { client: offered, server: spdy.to_vec() }),
        };
        return Ok(Negotiated { transport: Transport::Spdy, protocol, accept_key: None });
    }
    Err(Refusal::NoUpgrade(upgrade.join(", ")))
}

fn websocket_handshake<B>(request: &Request<B>, known: &[&'static str]) -> Result<Negotiated, Refusal> {
    let headers = request.headers();
    if request.method() != Method::GET {
        return Err(Refusal::Handshake("the method must be GET"));
    }
    if tokens(headers, header::SEC_WEBSOCKET_VERSION.as_str()) != ["13"] {
        return Err(Refusal::Handshake("Sec-WebSocket-Version must be 13"));
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).ok_or(Refusal::Handshake("Sec-WebSocket-Key is missing"))?;
    let valid = base64::engine::general_purpose::STANDARD.decode(key.as_bytes()).is_ok_and(|key| key.len() == 16);
    if !valid {
        return Err(Refusal::Handshake("Sec-WebSocket-Key must be 16 bytes in base64"));
    }
    let offered = tokens(headers, header::SEC_WEBSOCKET_PROTOCOL.as_str());
    let protocol = match choose(&offered, known) {
        Some(protocol) => protocol.to_owned(),
        None if offered.is_empty() && known.contains(&"") => String::new(),
        None => return Err(Refusal::NoProtocol { client: offered, server: known.to_vec() }),
    };
    Ok(Negotiated { transport: Transport::WebSocket, protocol, accept_key: Some(derive_accept_key(key.as_bytes())) })
}

/// The client's first choice that the server knows: upstream's servers honour the client's order.
fn choose<'a>(offered: &[String], known: &[&'a str]) -> Option<&'a str> {
    offered.iter().find_map(|offer| known.iter().find(|name| *name == offer)).copied()
}

/// All comma-separated values of all headers of this name.
fn tokens(headers: &HeaderMap, name: &str) -> Vec<String> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|token| token.trim().to_owned())
        .filter(|token| !token.is_empty())
        .collect()
}

impl Negotiated {
    /// The `101 Switching Protocols` answer.
    pub(crate) fn response(&self) -> Response<Body> {
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        let protocol = HeaderValue::from_str(&self.protocol).ok().filter(|value| !value.is_empty());
        match self.transport {
            Transport::Spdy => {
                headers.insert(header::UPGRADE, HeaderValue::from_static(SPDY));
                if let Some(protocol) = protocol {
                    headers.insert(STREAM_VERSION, protocol);
                }
            }
            Transport::WebSocket => {
                headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
                if let Some(key) = self.accept_key.as_deref().and_then(|key| HeaderValue::from_str(key).ok()) {
                    headers.insert(header::SEC_WEBSOCKET_ACCEPT, key);
                }
                if let Some(protocol) = protocol {
                    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
                }
            }
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::new(());
        for (name, value) in headers {
            request.headers_mut().append(
                header::HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        request
    }

    #[test]
    fn spdy_takes_the_clients_first_known_version() {
        let request = request(&[
            ("Connection", "Upgrade"),
            ("Upgrade", "SPDY/3.1"),
            (STREAM_VERSION, "v9.channel.k8s.io"),
            (STREAM_VERSION, "v4.channel.k8s.io"),
            (STREAM_VERSION, "channel.k8s.io"),
        ]);
        let agreed = negotiate(&request, &["v4.channel.k8s.io", "channel.k8s.io", ""], &[]).unwrap();
        assert_eq!((agreed.transport, agreed.protocol.as_str()), (Transport::Spdy, "v4.channel.k8s.io"));
        assert_eq!(agreed.response().headers()[STREAM_VERSION], "v4.channel.k8s.io");
    }

    #[test]
    fn websocket_answers_with_the_accept_key_of_rfc_6455() {
        let request = request(&[
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("Sec-WebSocket-Protocol", "v5.channel.k8s.io, v4.channel.k8s.io"),
        ]);
        let agreed = negotiate(&request, &[], &["v4.channel.k8s.io", "v5.channel.k8s.io"]).unwrap();
        assert_eq!(agreed.protocol, "v5.channel.k8s.io");
        let response = agreed.response();
        assert_eq!(response.headers()[header::SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn refusals_say_what_is_wrong() {
        let plain = negotiate(&request(&[]), &[""], &[""]).unwrap_err();
        assert!(matches!(plain, Refusal::NoUpgrade(_)));
        let unknown = request(&[("Upgrade", "SPDY/3.1"), (STREAM_VERSION, "v9")]);
        let refusal = negotiate(&unknown, &["v4.channel.k8s.io"], &[]).unwrap_err();
        assert_eq!(refusal.response().status(), StatusCode::FORBIDDEN);
        let keyless = request(&[("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")]);
        assert!(matches!(negotiate(&keyless, &[], &[""]).unwrap_err(), Refusal::Handshake(_)));
    }
}

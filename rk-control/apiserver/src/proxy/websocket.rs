//! A streamed answer carried by a WebSocket instead of an HTTP body, for clients that can only speak that (browsers).
//!
//! The subprotocols of bytes are those of upstream's stream reader: `binary.k8s.io` (also when none is named) sends each piece as a
//! binary message, `base64.binary.k8s.io` as base64 text. Events of a watch come one a message, whatever subprotocol is named, JSON as
//! text. What the client sends is read for its pings and its close alone.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::FutureExt as _;
use futures::{SinkExt, StreamExt};
use http::header::{
    CONNECTION, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use rk_api::status::Status;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::forward::is_upgrade;
use crate::audit;
use crate::http::Body;

/// Nothing that a client says here is longer than a control frame.
const LONGEST_INCOMING: usize = 4096;
/// Bytes in front of an event in protobuf that tell how long it is; of a message that is known.
const LENGTH: usize = 4;

/// How pieces become messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Binary,
    Base64,
    /// Events as text.
    Text,
    /// Events as messages with their length before them.
    Framed,
}

impl Encoding {
    fn message(self, piece: Bytes) -> Message {
        match self {
            Self::Binary => Message::Binary(piece),
            Self::Base64 => Message::Text(STANDARD.encode(piece).into()),
            Self::Text => Utf8Bytes::try_from(piece.clone()).map_or(Message::Binary(piece), Message::Text),
            Self::Framed => Message::Binary(piece.slice(LENGTH.min(piece.len())..)),
        }
    }
}

/// A client's wish to be answered by WebSocket.
pub(crate) struct Wish {
    client: OnUpgrade,
    accept: HeaderValue,
    protocol: Option<HeaderValue>,
    encoding: Encoding,
}

impl Wish {
    /// Takes the wish to have bytes this way out of a request, which is a plain one afterwards; `None` when there is none.
    ///
    /// # Errors
    /// 400 when the handshake is incomplete or asks for subprotocols that all are unknown.
    pub(super) fn take(request: &mut Request<Body>) -> Result<Option<Self>, Status> {
        let headers = request.headers();
        if !is_asked_for(headers) {
            return Ok(None);
        }
        let accept = accept_of(headers)?;
        let (protocol, encoding) = negotiate(headers)?;
        let protocol = protocol.map(HeaderValue::from_static);
        let client = hyper::upgrade::on(&mut *request);
        for name in [CONNECTION, UPGRADE, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL] {
            request.headers_mut().remove(name);
        }
        Ok(Some(Self { client, accept, protocol, encoding }))
    }

    /// The wish to be told of events this way; `None` when there is none. `headers` are those that the request came with, and `text` tells
    /// whether the events will be JSON.
    ///
    /// # Errors
    /// The code of an answer without a word, as upstream's: 400 when the handshake is incomplete or names several subprotocols, 403 when it
    /// does not tell from where it comes, as browsers do.
    pub(crate) fn of_events(
        headers: &HeaderMap,
        request: &mut Request<Body>,
        text: bool,
    ) -> Result<Option<Self>, StatusCode> {
        if !is_asked_for(headers) {
            return Ok(None);
        }
        let (accept, protocol) = of_browser(headers)?;
        let encoding = if text { Encoding::Text } else { Encoding::Framed };
        Ok(Some(Self { client: hyper::upgrade::on(request), accept, protocol, encoding }))
    }

    /// Carries the body of a good answer; any other answer stays HTTP.
    pub(crate) fn carry(self, answer: Response<Body>) -> Response<Body> {
        if answer.status() != StatusCode::OK {
            return answer;
        }
        let mut response = Response::new(http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, self.accept);
        if let Some(protocol) = self.protocol {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, protocol);
        }
        let (client, encoding, body) = (self.client, self.encoding, answer.into_body());
        let recording = audit::held();
        let task = async move {
            match client.await {
                Ok(io) => copy(io, encoding, body).await,
                Err(error) => tracing::debug!(%error, "upgrade failed"),
            }
            drop(recording);
        };
        tokio::spawn(task.boxed());
        response
    }
}

fn is_asked_for(headers: &HeaderMap) -> bool {
    is_upgrade(headers) && headers.get(UPGRADE).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// The answer to the key of a handshake.
fn accept_of(headers: &HeaderMap) -> Result<HeaderValue, Status> {
    let key = headers.get(SEC_WEBSOCKET_KEY).ok_or_else(|| Status::bad_request("missing header Sec-WebSocket-Key"))?;
    HeaderValue::from_str(&derive_accept_key(key.as_bytes()))
        .map_err(|error| Status::bad_request(format!("Sec-WebSocket-Key: {error}")))
}

/// The subprotocols that a client names, without the one that is its token.
fn named(headers: &HeaderMap) -> Vec<&str> {
    headers
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|name| !name.is_empty() && !name.starts_with(super::forward::BEARER_PROTOCOL))
        .collect()
}

/// The answers to the key and to the subprotocols of a browser's handshake, which names one subprotocol at most: events come in the same
/// way in each of them.
fn of_browser(headers: &HeaderMap) -> Result<(HeaderValue, Option<HeaderValue>), StatusCode> {
    let accept = accept_of(headers).map_err(|_| StatusCode::BAD_REQUEST)?;
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(StatusCode::BAD_REQUEST);
    }
    if !headers.get(ORIGIN).and_then(|origin| origin.to_str().ok()).is_some_and(is_address) {
        return Err(StatusCode::FORBIDDEN);
    }
    match named(headers).as_slice() {
        [] => Ok((accept, None)),
        [name] => HeaderValue::from_str(name).map(|name| (accept, Some(name))).map_err(|_| StatusCode::BAD_REQUEST),
        _ => Err(StatusCode::BAD_REQUEST),
    }
}

/// Whether an origin is one that Go reads as the address of a request: an absolute path, or what has a scheme.
fn is_address(origin: &str) -> bool {
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|letter: char| letter.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    };
    origin.starts_with('/') || origin.split_once(':').is_some_and(|(scheme, _)| is_scheme(scheme))
}

/// The first subprotocol of the client's that is known; none when it names none.
fn negotiate(headers: &HeaderMap) -> Result<(Option<&'static str>, Encoding), Status> {
    let named = named(headers);
    let known = |name: &&str| match *name {
        "binary.k8s.io" => Some((Some("binary.k8s.io"), Encoding::Binary)),
        "base64.binary.k8s.io" => Some((Some("base64.binary.k8s.io"), Encoding::Base64)),
        _ => None,
    };
    match named.iter().find_map(known) {
        Some(found) => Ok(found),
        None if named.is_empty() => Ok((None, Encoding::Binary)),
        None => Err(Status::bad_request(format!("requested protocol(s) are not supported: {named:?}"))),
    }
}

/// Sends the body piece by piece until it ends or the client hangs up.
async fn copy(io: hyper::upgrade::Upgraded, encoding: Encoding, mut body: Body) {
    let config =
        WebSocketConfig::default().max_message_size(Some(LONGEST_INCOMING)).max_frame_size(Some(LONGEST_INCOMING));
    let socket = WebSocketStream::from_raw_socket(TokioIo::new(io), Role::Server, Some(config)).await;
    let (mut sink, mut source) = socket.split();
    loop {
        tokio::select! {
            said = source.next() => match said {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => {}
            },
            frame = body.frame() => match frame {
                Some(Ok(frame)) => {
                    let Ok(piece) = frame.into_data() else { continue };
                    if sink.send(encoding.message(piece)).await.is_err() {
                        return;
                    }
                }
                Some(Err(error)) => {
                    tracing::debug!(error, "the streamed answer broke off");
                    break;
                }
                None => break,
            },
        }
    }
    // A client that is gone needs no farewell.
    let over = CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::default() };
    let _ = sink.send(Message::Close(Some(over))).await;
    let _ = sink.close().await;
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn asked(protocols: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_str(protocols).unwrap());
        headers
    }

    #[test]
    fn the_first_known_subprotocol_is_taken_and_none_is_as_good_as_binary() {
        assert_eq!(negotiate(&HeaderMap::new()).unwrap(), (None, Encoding::Binary));
        assert_eq!(
            negotiate(&asked("v9.unknown, base64.binary.k8s.io")).unwrap(),
            (Some("base64.binary.k8s.io"), Encoding::Base64)
        );
        let token = format!("{}c2VjcmV0, binary.k8s.io", super::super::forward::BEARER_PROTOCOL);
        assert_eq!(negotiate(&asked(&token)).unwrap(), (Some("binary.k8s.io"), Encoding::Binary));
        assert_eq!(negotiate(&asked("nonsense")).unwrap_err().code, 400);
    }

    #[test]
    fn who_asks_for_events_tells_from_where_it_comes() {
        let whole = [
            (SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ=="),
            (SEC_WEBSOCKET_VERSION, "13"),
            (ORIGIN, "https://a.example:8443"),
        ];
        let told = |name: HeaderName, value: &'static str| {
            let mut headers: HeaderMap =
                whole.iter().map(|(name, own)| (name.clone(), HeaderValue::from_static(own))).collect();
            headers.insert(name, HeaderValue::from_static(value));
            of_browser(&headers).err()
        };
        assert_eq!(told(ORIGIN, "/"), None);
        for origin in ["", "null", "1http://a.example"] {
            assert_eq!(told(ORIGIN, origin), Some(StatusCode::FORBIDDEN), "{origin}");
        }
        assert_eq!(told(SEC_WEBSOCKET_VERSION, "8"), Some(StatusCode::BAD_REQUEST));
        assert_eq!(of_browser(&HeaderMap::new()).err(), Some(StatusCode::BAD_REQUEST));
    }

    #[test]
    fn events_come_one_a_message_in_whatever_subprotocol_there_is() {
        let told = |protocols: &str| {
            let mut headers = asked(protocols);
            for (name, value) in [
                (SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ=="),
                (SEC_WEBSOCKET_VERSION, "13"),
                (ORIGIN, "https://a.example"),
            ] {
                headers.insert(name, HeaderValue::from_static(value));
            }
            of_browser(&headers).map(|(_, protocol)| protocol)
        };
        assert_eq!(told(""), Ok(None));
        let token = format!("{}c2VjcmV0, base64.binary.k8s.io", super::super::forward::BEARER_PROTOCOL);
        for named in [token.as_str(), "base64.binary.k8s.io"] {
            assert_eq!(told(named).unwrap().unwrap(), "base64.binary.k8s.io");
        }
        assert_eq!(told("a, b"), Err(StatusCode::BAD_REQUEST));
        let event = Bytes::from_static(b"{}\n");
        assert_eq!(Encoding::Text.message(event), Message::Text("{}\n".into()));
        let framed = Bytes::from_static(b"\0\0\0\x02ab");
        assert_eq!(Encoding::Framed.message(framed), Message::Binary(Bytes::from_static(b"ab")));
    }
}

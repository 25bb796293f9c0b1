//! Response bodies.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

/// The body of every response.
pub type Body = BoxBody<Bytes, Infallible>;

/// A body that is there already.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed()
}

/// A response with a content type.
pub fn response(status: StatusCode, content_type: &'static str, bytes: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(full(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Plain text.
pub fn text(status: StatusCode, message: impl Into<String>) -> Response<Body> {
    response(status, "text/plain; charset=utf-8", message.into())
}

/// JSON of a value.
pub fn json(value: &impl serde::Serialize) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(bytes) => response(StatusCode::OK, "application/json", bytes),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("encoding the answer: {error}")),
    }
}

/// A body that arrives piece by piece and ends when its sender is dropped.
pub fn streamed(pieces: mpsc::Receiver<Bytes>) -> Body {
    BodyExt::boxed(StreamBody::new(ReceiverStream::new(pieces).map(|piece| Ok::<_, Infallible>(Frame::data(piece)))))
}

/// A request that gets an error for an answer.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    message: String,
}

/// Refuses with a status and a text.
pub fn refuse(status: StatusCode, message: impl Into<String>) -> Refusal {
    Refusal { status, message: message.into() }
}

impl From<Refusal> for Response<Body> {
    fn from(refusal: Refusal) -> Self {
        text(refusal.status, refusal.message)
    }
}

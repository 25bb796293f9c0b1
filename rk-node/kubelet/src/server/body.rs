//! Response bodies.

use std::convert::Infallible;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::runtime::RuntimeError;

/// When to ask again that for which there are too many of its kind now, seconds: by then they have come or their time is over.
const RETRY: &str = "60";

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
        let mut response = text(refusal.status, refusal.message);
        if refusal.status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(RETRY));
        }
        response
    }
}

/// Refuses what the runtime could not do, in its words.
pub fn of_runtime(error: &RuntimeError) -> Refusal {
    let status = match error.code {
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    refuse(status, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_runtime_cannot_do_is_refused_with_a_status_of_its_own() {
        for (code, status, later) in
            [(Code::NotFound, 404, None), (Code::ResourceExhausted, 429, Some("60")), (Code::Unknown, 500, None)]
        {
            let refusal = of_runtime(&RuntimeError { call: "Exec", code, words: "no".into() });
            let response: Response<Body> = refusal.into();
            let retry = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            assert_eq!((response.status().as_u16(), retry), (status, later), "{code:?}");
        }
    }
}

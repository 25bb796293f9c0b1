//! Writing answers.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, VARY, WARNING};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use rk_api::status::Status;
use serde_json::Value;

use super::body::Body;
use super::negotiate::Format;

/// Answers smaller than this are not worth compressing; upstream's threshold.
const GZIP_FROM: usize = 128 * 1024;

/// An answer of ready bytes. Nothing that the API serves may be cached by intermediaries.
#[must_use]
pub fn bytes_response(code: StatusCode, content_type: &'static str, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Full::new(body).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// A JSON answer.
#[must_use]
pub fn json_response(code: StatusCode, value: &Value, pretty: bool) -> Response<Body> {
    let text = if pretty { serde_json::to_vec_pretty(value) } else { serde_json::to_vec(value) };
    let mut text = text.unwrap_or_default();
    text.push(b'\n');
    bytes_response(code, "application/json", text.into())
}

/// A plain text answer.
#[must_use]
pub fn text_response(code: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    bytes_response(code, "text/plain; charset=utf-8", text.into())
}

/// A failure. Clients that asked for protobuf get it in protobuf, everybody else in JSON.
#[must_use]
pub fn status_response(status: &Status, format: Format) -> Response<Body> {
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let value = status.to_value();
    let mut response = match format {
        Format::Protobuf => match crate::codec::encode_protobuf(&value) {
            Some(bytes) => bytes_response(code, Format::Protobuf.media_type(), bytes),
            None => json_response(code, &value, false),
        },
        _ => json_response(code, &value, false),
    };
    let retry = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    if retry > 0
        && let Ok(value) = HeaderValue::from_str(&retry.to_string())
    {
        response.headers_mut().insert(RETRY_AFTER, value);
    }
    if code == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(http::header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"rk\""));
    }
    response
}

/// Adds `Warning` headers (RFC 7234: code 299, no agent, quoted text), as many and as long as upstream sends.
pub fn add_warnings(response: &mut Response<Body>, warnings: &[String]) {
    let mut budget = 4096usize;
    for warning in warnings {
        let mut text = String::with_capacity(warning.len() + 10);
        text.push_str("299 - \"");
        for letter in warning.chars().filter(|letter| !letter.is_control()) {
            if matches!(letter, '"' | '\\') {
                text.push('\\');
            }
            text.push(letter);
        }
        text.push('"');
        let Some(left) = budget.checked_sub(text.len()) else { return };
        budget = left;
        if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
            response.headers_mut().append(WARNING, value);
        }
    }
}

/// Compresses, with care rather than haste: for what is kept and sent many times.
#[must_use]
pub fn gzipped(body: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::default());
    // Writing to a vector does not fail.
    let _ = encoder.write_all(body);
    encoder.finish().unwrap_or_default().into()
}

/// Compresses ready bytes when the client takes gzip and they are long enough.
#[must_use]
pub fn maybe_gzip(code: StatusCode, content_type: &'static str, body: Bytes, gzip: bool) -> Response<Body> {
    if !gzip || body.len() < GZIP_FROM {
        return bytes_response(code, content_type, body);
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    match encoder.write_all(&body).and_then(|()| encoder.finish()) {
        Ok(packed) => {
            let mut response = bytes_response(code, content_type, packed.into());
            response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            response.headers_mut().insert(VARY, HeaderValue::from_static("Accept-Encoding"));
            response
        }
        Err(_) => bytes_response(code, content_type, body),
    }
}

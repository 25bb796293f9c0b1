//! Writing answers.

use std::collections::BTreeSet;
use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, VARY, WARNING, X_CONTENT_TYPE_OPTIONS};
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

/// Text that browsers must take for text: health reports, and failures without a Status.
#[must_use]
pub fn plain_response(code: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = text_response(code, text);
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A failure, in the format and with the spaces that the client asked for.
#[must_use]
pub fn status_response(status: &Status, format: Format, pretty: bool) -> Response<Body> {
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let (media_type, body) = crate::codec::encode(&status.to_value(), format, pretty);
    let mut response = bytes_response(code, media_type, body);
    let retry = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    if retry > 0
        && let Ok(value) = HeaderValue::from_str(&retry.to_string())
    {
        response.headers_mut().insert(RETRY_AFTER, value);
    }
    response
}

/// How many letters of warnings an answer carries; upstream's figure.
const WARNED: usize = 4 * 1024;
/// To how many letters each warning is cut when all of them are too long together; upstream's figure.
const CUT: usize = 256;

/// Adds `Warning` headers (RFC 7234: code 299, no agent, quoted text), as many and as long as upstream sends, each text once.
pub fn add_warnings(response: &mut Response<Body>, warnings: &[String]) {
    let mut known = BTreeSet::new();
    let texts: Vec<&str> =
        warnings.iter().map(String::as_str).filter(|text| !text.is_empty() && known.insert(*text)).collect();
    let length: usize = texts.iter().map(|text| text.chars().count()).sum();
    let most = if length > WARNED { CUT } else { WARNED };
    let mut told = 0;
    for text in texts {
        if told >= WARNED {
            return;
        }
        let text: String = text.chars().take(most).collect();
        told += text.chars().count();
        if let Ok(value) = HeaderValue::from_bytes(quoted(&text).as_bytes()) {
            response.headers_mut().append(WARNING, value);
        }
    }
}

fn quoted(warning: &str) -> String {
    let mut text = String::with_capacity(warning.len() + 10);
    text.push_str("299 - \"");
    for letter in warning.chars().filter(|letter| !letter.is_control()) {
        if matches!(letter, '"' | '\\') {
            text.push('\\');
        }
        text.push(letter);
    }
    text.push('"');
    text
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

#[cfg(test)]
mod tests {
    use super::*;

    fn told(warnings: &[String]) -> Vec<String> {
        let mut response = text_response(StatusCode::OK, "ok");
        add_warnings(&mut response, warnings);
        response.headers().get_all(WARNING).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn warnings_are_told_once_and_cut_when_they_are_too_many() {
        let text = |text: &str| text.to_owned();
        assert_eq!(
            told(&[text("a \"b\" \\ c\n"), text("d"), text(""), text("d")]),
            [r#"299 - "a \"b\" \\ c""#, r#"299 - "d""#]
        );
        assert_eq!(told(&["a".repeat(3000)])[0].len(), 3000 + 8);
        let cut = told(&["a".repeat(3000), text("short"), "b".repeat(3000)]);
        assert_eq!(cut.iter().map(|value| value.len() - 8).collect::<Vec<_>>(), [256, 5, 256]);
        let many: Vec<String> = (0..100).map(|number| format!("{number:0300}")).collect();
        assert_eq!(told(&many).len(), WARNED / CUT);
    }
}

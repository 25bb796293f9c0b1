//! What [`super::statusz`] and [`super::flagz`] have in common: the form that a client accepts, and objects in it.

use http::header::{ACCEPT, CONTENT_TYPE, WARNING};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use rk_zpages::{Answer, Format, OFFERED, Version, negotiate};
use serde_json::Value;

use super::body::{Body, Refusal, json, refuse, response};

/// The form in which a client takes an object of a kind, or its page.
pub(super) fn accepted(headers: &HeaderMap, kind: &str) -> Result<Answer, Refusal> {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    negotiate(accept, kind).ok_or_else(|| {
        let why = format!("only the following media types are accepted: {}\n", OFFERED.join(", "));
        refuse(StatusCode::NOT_ACCEPTABLE, why)
    })
}

/// A page's object, with a warning if its version is an old one.
pub(super) fn object(page: &str, object: &Value, version: Version, format: Format) -> Result<Response<Body>, Refusal> {
    let mut answered = match format {
        Format::Json => json(object),
        Format::Yaml => response(StatusCode::OK, "application/yaml", rk_api::yaml::write(object)),
    };
    let kind = object["kind"].as_str().unwrap_or_default();
    if let Ok(named) = HeaderValue::from_str(&version.media_type(kind, format)) {
        answered.headers_mut().insert(CONTENT_TYPE, named);
    }
    if let Some(warning) = version.warning(page)
        && let Ok(value) = HeaderValue::from_str(&format!("299 - \"{warning}\""))
    {
        answered.headers_mut().insert(WARNING, value);
    }
    Ok(answered)
}

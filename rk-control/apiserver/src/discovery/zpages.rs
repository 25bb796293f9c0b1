//! `/statusz` and `/flagz`: what this process tells of itself.

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use jiff::Timestamp;
use rk_api::status::Status;
use rk_zpages::{Answer, Flagz, OFFERED, Statusz, Version};
use serde_json::Value;

use super::{GIT_VERSION, documents};
use crate::codec;
use crate::http::{Body, Format, Query, add_warnings, bytes_response, text_response, wants_pretty};
use crate::metrics;
use crate::server::Core;

/// By which name pages call any API server; upstream's.
const COMPONENT: &str = "apiserver";

/// Serves `/statusz`.
pub(super) fn statusz(core: &Core, headers: &HeaderMap, query: &Query) -> Result<Response<Body>, Status> {
    let answer = negotiate(headers, Statusz::KIND)?;
    let now = Timestamp::now();
    let began = metrics::began().and_then(|seconds| Timestamp::from_second(seconds as i64).ok());
    let listed = documents::paths(&core.registry());
    let listed = listed["paths"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let paths = rk_zpages::folders(listed);
    let (component, version) = (COMPONENT, GIT_VERSION);
    let page = Statusz { component, began: began.unwrap_or(now), now, version, paths: &paths };
    let pretty = wants_pretty(headers, query);
    Ok(written(answer, ("statusz", Statusz::KIND), pretty, || page.text(), |version| page.object(version)))
}

/// Serves `/flagz`.
pub(super) fn flagz(core: &Core, headers: &HeaderMap, query: &Query) -> Result<Response<Body>, Status> {
    let answer = negotiate(headers, Flagz::KIND)?;
    let page = Flagz { component: COMPONENT, flags: &core.config.flags };
    let pretty = wants_pretty(headers, query);
    Ok(written(answer, ("flagz", Flagz::KIND), pretty, || page.text(), |version| page.object(version)))
}

fn negotiate(headers: &HeaderMap, kind: &str) -> Result<Answer, Status> {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    rk_zpages::negotiate(accept, kind).ok_or_else(|| Status::not_acceptable(&OFFERED))
}

fn written(
    answer: Answer,
    (page, kind): (&str, &str),
    pretty: bool,
    text: impl FnOnce() -> String,
    object: impl FnOnce(Version) -> Value,
) -> Response<Body> {
    let Answer::Object(version, format) = answer else { return text_response(StatusCode::OK, text()) };
    let named = HeaderValue::from_str(&version.media_type(kind, format));
    let format = match format {
        rk_zpages::Format::Json => Format::Json,
        rk_zpages::Format::Yaml => Format::Yaml,
    };
    let (media_type, body) = codec::encode(&object(version), format, pretty);
    let mut response = bytes_response(StatusCode::OK, media_type, body);
    if let Ok(named) = named {
        response.headers_mut().insert(CONTENT_TYPE, named);
    }
    add_warnings(&mut response, version.warning(page).as_slice());
    response
}

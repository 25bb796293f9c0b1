//! OpenAPI documents, served compressed as they are embedded.

use std::io::Read;

use bytes::Bytes;
use flate2::read::GzDecoder;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use rk_api::status::Status;
use serde_json::{Map, Value, json};

use crate::http::{Body, Query, accepts_gzip, bytes_response, json_response};

/// Serves `/openapi/…`.
pub(super) fn serve(parts: &[&str], headers: &HeaderMap, query: &Query) -> Result<Response<Body>, Status> {
    match parts {
        ["v2"] => {
            // Clients that only speak protobuf here name nothing else; kubectl names both.
            if !accepts_json(headers) {
                return Err(Status::not_acceptable(&["application/json"]));
            }
            Ok(document(rk_openapi::v2(), headers, false))
        }
        ["v3"] => Ok(json_response(StatusCode::OK, &index(), false)),
        ["v3", path @ ..] => {
            let wanted = path.join("/");
            let found =
                rk_openapi::v3().iter().find(|document| document.path == wanted).ok_or_else(Status::unknown_path)?;
            // A hash in the query names exactly these bytes, so they may be kept for ever.
            let immutable = query.text("hash") == found.hash;
            Ok(document(found, headers, immutable))
        }
        _ => Err(Status::unknown_path()),
    }
}

fn accepts_json(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(http::header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).peekable();
    values.peek().is_none()
        || values.any(|value| value.contains("json") || value.contains("*/*") || value.contains("application/*"))
}

fn index() -> Value {
    let paths: Map<String, Value> = rk_openapi::v3()
        .iter()
        .map(|document| {
            let url = format!("/openapi/v3/{}?hash={}", document.path, document.hash);
            (document.path.to_owned(), json!({"serverRelativeURL": url}))
        })
        .collect();
    json!({"paths": paths})
}

fn document(document: &rk_openapi::Document, headers: &HeaderMap, immutable: bool) -> Response<Body> {
    let etag = format!("\"{}\"", document.hash);
    let known = headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok()).is_some_and(|own| own == etag);
    let gzip = accepts_gzip(headers);
    let mut response = if known {
        bytes_response(StatusCode::NOT_MODIFIED, "application/json", Bytes::new())
    } else if gzip {
        let mut response = bytes_response(StatusCode::OK, "application/json", Bytes::from_static(document.gzip));
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        response
    } else {
        let mut plain = Vec::new();
        match GzDecoder::new(document.gzip).read_to_end(&mut plain) {
            Ok(_) => bytes_response(StatusCode::OK, "application/json", plain.into()),
            Err(error) => {
                return json_response(StatusCode::INTERNAL_SERVER_ERROR, &Status::internal(error).to_value(), false);
            }
        }
    };
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&etag) {
        headers.insert(ETAG, value);
    }
    headers.insert(VARY, HeaderValue::from_static("Accept-Encoding, Accept"));
    if immutable {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
    }
    response
}

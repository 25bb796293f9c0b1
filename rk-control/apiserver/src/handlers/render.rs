//! Writing one object in the format and shape that was negotiated.

use bytes::Bytes;
use http::{Response, StatusCode};
use rk_api::status::{Status, quote};
use rk_api::table::IncludeObject;
use serde_json::Value;

use super::call::Call;
use crate::codec;
use crate::conversion;
use crate::http::{Accept, Body, Format, Query, Shape, Subject, bytes_response};
use crate::storage::{Cached, Stored};

/// `includeObject` of a Table request.
pub(super) fn include_object(query: &Query) -> Result<IncludeObject, Status> {
    match query.text("includeObject") {
        "" | "Metadata" => Ok(IncludeObject::Metadata),
        "Object" => Ok(IncludeObject::Object),
        "None" => Ok(IncludeObject::None),
        other => Err(Status::bad_request(format!(
            "Unable to convert to Table as requested: includeObject: Invalid value: {}: must be 'Metadata', 'Object', 'None', or empty",
            quote(other)
        ))),
    }
}

/// Answers with an object of the path's version.
pub(super) fn object(call: &Call, code: StatusCode, object: &Value) -> Result<Response<Body>, Status> {
    let accept = call.accept(Subject::Object)?;
    let shaped = match accept.shape {
        Shape::Object => None,
        _ if rk_api::meta::text(object, &["kind"]) == "Status" => None,
        Shape::Metadata => Some(accept.versioned(rk_api::table::partial_metadata(object))),
        Shape::Table => {
            let include = include_object(&call.query)?;
            let metadata = object.get("metadata").unwrap_or(&Value::Null);
            let now = jiff::Timestamp::now();
            let table = match rk_api::meta::text(object, &["kind"]) {
                // A workload seen through its subresource.
                "Scale" if call.path.subresource == "scale" => rk_api::table::scale(object, include, now),
                _ => rk_api::table::table(&call.resource, std::iter::once(object), metadata, include, now),
            };
            Some(accept.versioned(table))
        }
    };
    let (media_type, bytes) = codec::encode(shaped.as_ref().unwrap_or(object), accept.format, accept.pretty);
    Ok(bytes_response(code, media_type, bytes))
}

/// Answers with an object of the path's version that was just stored, without serializing it again when its text is what was asked for.
pub(super) fn stored(call: &Call, code: StatusCode, stored: &Stored) -> Result<Response<Body>, Status> {
    let accept = call.accept(Subject::Object)?;
    let plain = accept.shape == Shape::Object && accept.format == Format::Json && !accept.pretty;
    match &stored.json {
        Some(json) if plain => Ok(bytes_response(code, accept.format.media_type(), json.clone())),
        _ => object(call, code, &stored.object),
    }
}

/// Answers with a stored object, without parsing it when its serialized form is what was asked for.
pub(super) async fn cached(call: &Call, cached: &Cached) -> Result<Response<Body>, Status> {
    let accept = call.accept(Subject::Object)?;
    if let Some(bytes) = ready_bytes(call, &accept, cached) {
        return Ok(bytes_response(StatusCode::OK, accept.format.media_type(), bytes));
    }
    let value = conversion::to(&call.core, cached.value(), &call.resource).await?;
    object(call, StatusCode::OK, &value)
}

fn ready_bytes(call: &Call, accept: &Accept, cached: &Cached) -> Option<Bytes> {
    if accept.shape != Shape::Object || !call.resource.is_hub() || cached.is_foreign() {
        return None;
    }
    match accept.format {
        Format::Json if !accept.pretty => Some(cached.json().clone()),
        Format::Protobuf => {
            let message = cached.message()?;
            Some(rk_api::proto::envelope(&call.resource.api_version(), &call.resource.gvk.kind, message))
        }
        _ => None,
    }
}

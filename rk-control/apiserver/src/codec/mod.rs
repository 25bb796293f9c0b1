//! From bodies to objects and back, in every format.

use bytes::Bytes;
use http::HeaderMap;
use rk_api::decode::{self, DecodeError, Decoded, FieldValidation, Limits};
use rk_api::resources::GroupVersionKind;
use rk_api::schema::Schema;
use rk_api::status::Status;
use serde_json::Value;

use crate::http::{Format, content_format};

/// Encodes an object as protobuf with its envelope; `None` for kinds without a message.
#[must_use]
pub fn encode_protobuf(object: &Value) -> Option<Bytes> {
    rk_api::proto::encode(object)
}

/// Encodes an object. Kinds without a protobuf message fall back to JSON, as upstream does for none of its own kinds.
#[must_use]
pub fn encode(object: &Value, format: Format, pretty: bool) -> (&'static str, Bytes) {
    match format {
        Format::Protobuf => match encode_protobuf(object) {
            Some(bytes) => (format.media_type(), bytes),
            None => encode(object, Format::Json, pretty),
        },
        Format::Yaml => (format.media_type(), rk_api::yaml::write(object).into()),
        Format::Json => {
            let text = if pretty { serde_json::to_vec_pretty(object) } else { serde_json::to_vec(object) };
            let mut text = text.unwrap_or_default();
            text.push(b'\n');
            (format.media_type(), text.into())
        }
    }
}

/// Decodes a body that should be an object of `gvk`, which `schema` describes; unknown fields become warnings or errors as `mode` says.
///
/// # Errors
/// 400, 413 or 415 that name the place.
pub fn decode_object(
    headers: &HeaderMap,
    body: &Bytes,
    gvk: &GroupVersionKind,
    schema: &Schema,
    mode: FieldValidation,
    warnings: &mut Vec<String>,
) -> Result<Value, Status> {
    let decoded = read(headers, body, gvk, schema, mode)?;
    let decoded = decoded.map_err(|error| error.into_status(&gvk.kind, &gvk.version, body))?;
    warnings.extend(decoded.warnings);
    let mut object = decoded.object;
    decode::identify(&mut object, gvk, body)?;
    Ok(object)
}

/// Decodes `DeleteOptions`: every group has them, and clients name the group that they delete from.
///
/// # Errors
/// As [`decode_object`].
pub fn decode_delete_options(headers: &HeaderMap, body: &Bytes) -> Result<Value, Status> {
    let gvk = GroupVersionKind::new("", "v1", "DeleteOptions");
    let schema = Schema::of_kind(&gvk).unwrap_or(Schema::ANY);
    let decoded = read(headers, body, &gvk, &schema, FieldValidation::Ignore)?;
    let mut object = decoded.map_err(DecodeError::into_status_of_options)?.object;
    decode::identify_delete_options(&mut object)?;
    Ok(object)
}

/// What comes of a body in the format that the headers name; the outer failure is 415.
fn read(
    headers: &HeaderMap,
    body: &Bytes,
    gvk: &GroupVersionKind,
    schema: &Schema,
    mode: FieldValidation,
) -> Result<Result<Decoded, DecodeError>, Status> {
    let limits = Limits::default();
    Ok(match content_format(headers)? {
        Format::Json => decode::json(body, schema, mode, limits),
        Format::Yaml => decode::yaml(body, schema, mode, limits),
        Format::Protobuf if !schema.is_fixed() => {
            return Err(Status::unsupported_media_type(&["application/json", "application/yaml"]));
        }
        Format::Protobuf => rk_api::proto::decode(body, Some(gvk), limits)
            .and_then(|object| decode::finish(object, Vec::new(), schema, mode)),
    })
}

//! From bodies to objects and back, in every format.

mod yaml;

use bytes::Bytes;
use http::HeaderMap;
use rk_api::decode::{self, DecodeError, Decoded, FieldValidation, Limits};
use rk_api::meta;
use rk_api::resources::GroupVersionKind;
use rk_api::schema::Schema;
use rk_api::status::Status;
use serde_json::Value;

use crate::http::{Format, content_format};

/// Where upstream registers the options of requests, as its messages name it.
const OPTIONS_SCHEME: &str = "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27";

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
        Format::Yaml => (format.media_type(), yaml::write(object).into()),
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
    let refused = |error: DecodeError| error.into_status(&gvk.kind, &gvk.version, body);
    let decoded = read(headers, body, gvk, schema, mode, refused)?;
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
    // Nothing in so many words is no wish.
    let nothing = Bytes::from_static(b"{}");
    let body = if body.trim_ascii() == b"null" { &nothing } else { body };
    let mut object = read(headers, body, &gvk, &schema, FieldValidation::Ignore, DecodeError::into_fault)?.object;
    let (kind, version) = (meta::text(&object, &["kind"]), meta::text(&object, &["apiVersion"]));
    if !matches!(kind, "" | "DeleteOptions") {
        let version = if version.is_empty() { "meta.k8s.io/v1" } else { version };
        return Err(Status::bad_request(format!(
            "no kind {kind:?} is registered for version {version:?} in scheme {OPTIONS_SCHEME:?}"
        )));
    }
    if let Some(members) = object.as_object_mut() {
        members.remove("apiVersion");
    }
    decode::identify(&mut object, &gvk, body)?;
    Ok(object)
}

fn read(
    headers: &HeaderMap,
    body: &Bytes,
    gvk: &GroupVersionKind,
    schema: &Schema,
    mode: FieldValidation,
    refused: impl FnOnce(DecodeError) -> Status,
) -> Result<Decoded, Status> {
    let limits = Limits::default();
    match content_format(headers)? {
        Format::Json => decode::json(body, schema, mode, limits),
        Format::Yaml => decode::yaml(body, schema, mode, limits),
        Format::Protobuf if !schema.is_fixed() => {
            return Err(Status::unsupported_media_type(&["application/json", "application/yaml"]));
        }
        Format::Protobuf => rk_api::proto::decode(body, Some(gvk), limits)
            .and_then(|object| decode::finish(object, Vec::new(), schema, mode)),
    }
    .map_err(refused)
}

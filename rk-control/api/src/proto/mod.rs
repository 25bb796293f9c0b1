//! `application/vnd.kubernetes.protobuf`, both ways, driven by the tables.
//!
//! A body is the four bytes `k8s\0` and a `runtime.Unknown` that names apiVersion and kind and carries the message.

use bytes::Bytes;
use serde_json::Value;

use crate::decode::{DecodeError, Limits};
use crate::resources::GroupVersionKind;

/// The first bytes of every body.
pub const MAGIC: [u8; 4] = *b"k8s\0";

/// Decodes a body with its envelope; the value has `apiVersion` and `kind`. `fallback` serves bodies whose envelope names no type.
///
/// # Errors
/// A wrong envelope, an unknown kind, malformed wire data, bounds exceeded.
pub fn decode(
    body: &[u8],
    fallback: Option<&GroupVersionKind>,
    limits: Limits,
) -> Result<Value, DecodeError> {
    let _ = (body, fallback, limits);
    todo!()
}

/// The message of an object, without its envelope: what lists and caches keep. `None` when the kind has no message.
pub fn message(object: &Value) -> Option<Bytes> {
    let _ = object;
    todo!()
}

/// A whole body: envelope and message. `None` when the kind has no message (Table).
pub fn encode(object: &Value) -> Option<Bytes> {
    let _ = object;
    todo!()
}

/// A whole body around a message from [`message`].
pub fn envelope(api_version: &str, kind: &str, message: &[u8]) -> Bytes {
    let _ = (api_version, kind, message);
    todo!()
}

/// A list body around the messages of its items.
pub fn encode_list<'a>(
    api_version: &str,
    kind: &str,
    list_meta: &Value,
    items: impl Iterator<Item = &'a [u8]>,
) -> Bytes {
    let _ = (api_version, kind, list_meta, items.count());
    todo!()
}

/// One frame of a watch stream (4-byte length, then a WatchEvent) around a whole body from [`encode`] or [`envelope`].
pub fn watch_frame(event_type: &str, body: &[u8]) -> Bytes {
    let _ = (event_type, body);
    todo!()
}

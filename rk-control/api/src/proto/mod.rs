//! `application/vnd.kubernetes.protobuf`, both ways, driven by the tables.
//!
//! A body is the four bytes `k8s\0` and a `runtime.Unknown` that names apiVersion and kind and carries the message. Messages are
//! written field by field from the object as it is: what JSON leaves out is left out here too, which Go reads as the zero value.

mod read;
mod wire;
mod write;

#[cfg(test)]
mod tests;

use bytes::Bytes;
use serde_json::Value;

use crate::decode::{DecodeError, Form, Limits, fit};
use crate::meta;
use crate::resources::GroupVersionKind;
use crate::schema::Schema;
use wire::{Fields, Writer};

/// The first bytes of every body.
pub const MAGIC: [u8; 4] = *b"k8s\0";

/// Deepest nesting of messages: far beyond any real object, and safe on the stack of a server thread.
const DEPTH: usize = 128;

/// `runtime.Unknown` and its `TypeMeta`.
mod unknown {
    pub(super) const TYPE_META: u32 = 1;
    pub(super) const RAW: u32 = 2;
    pub(super) const API_VERSION: u32 = 1;
    pub(super) const KIND: u32 = 2;
}

/// Every list is its metadata and its items.
mod list {
    pub(super) const METADATA: u32 = 1;
    pub(super) const ITEMS: u32 = 2;
}

/// `WatchEvent`, whose object is a `RawExtension`.
mod event {
    pub(super) const TYPE: u32 = 1;
    pub(super) const OBJECT: u32 = 2;
    pub(super) const RAW: u32 = 1;
}

/// Decodes a body with its envelope; the value has `apiVersion` and `kind`. `fallback` serves bodies whose envelope names no type.
///
/// # Errors
/// A wrong envelope, an unknown kind, malformed wire data, bounds exceeded.
pub fn decode(body: &[u8], fallback: Option<&GroupVersionKind>, limits: Limits) -> Result<Value, DecodeError> {
    if body.len() > limits.bytes {
        return Err(DecodeError::TooLarge(limits.bytes));
    }
    let Envelope { api_version, kind, raw } =
        opened_body(body).map_err(|error| DecodeError::Unnamed(error.to_string()))?;
    let named = GroupVersionKind::from_api_version(api_version, kind).filter(|_| !kind.is_empty());
    let Some(gvk) = named.or_else(|| fallback.cloned()) else {
        return Err(DecodeError::Proto("Object 'Kind' is missing in protobuf message".into()));
    };
    let Some(schema) = schema_of(&gvk) else {
        return Err(DecodeError::Unregistered { api_version: gvk.api_version(), kind: gvk.kind.to_string() });
    };
    let mut value = Value::Object(read::message(&schema, raw, limits.depth.min(DEPTH))?);
    value["apiVersion"] = gvk.api_version().into();
    value["kind"] = gvk.kind.as_ref().into();
    fit(&mut value, &schema, Form::Canonical)?;
    Ok(value)
}

/// The envelope of a body; until it is read, nothing is known of what the body is.
fn opened_body(body: &[u8]) -> Result<Envelope<'_>, DecodeError> {
    let why = match body.strip_prefix(&MAGIC) {
        Some(unknown) if !unknown.is_empty() => return Envelope::read(unknown),
        Some(_) => "empty body",
        None if body.is_empty() => "empty data",
        None => "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]",
    };
    Err(DecodeError::Proto(why.to_owned()))
}

/// The message of an object, without its envelope: what lists and caches keep. `None` when the kind has no message.
pub fn message(object: &Value) -> Option<Bytes> {
    let gvk = gvk_of(object)?;
    if let Some(schema) = schema_of(&gvk) {
        return Some(write::message(&schema, object).into());
    }
    let items = object.get("items")?.as_array()?;
    let messages: Vec<Bytes> = items.iter().map(|item| item_message(&gvk, item)).collect::<Option<_>>()?;
    let meta = object.get("metadata").unwrap_or(&Value::Null);
    Some(list_message(meta, messages.iter().map(AsRef::as_ref)))
}

/// A whole body: envelope and message. `None` when the kind has no message (Table).
pub fn encode(object: &Value) -> Option<Bytes> {
    let message = message(object)?;
    Some(envelope(meta::text(object, &["apiVersion"]), meta::text(object, &["kind"]), &message))
}

/// A whole body around a message from [`message`].
pub fn envelope(api_version: &str, kind: &str, message: &[u8]) -> Bytes {
    let mut body = opened(api_version, kind, message.len(), message.len());
    body.append(message);
    body.finish().into()
}

/// The beginning of a list's body, for who writes it piece by piece: all that comes before its items, which take `items` bytes
/// altogether, what [`item_head`] says of each included.
pub fn list_head(api_version: &str, kind: &str, list_meta: &Value, items: usize) -> Bytes {
    let start = list_message(list_meta, std::iter::empty());
    let mut head = opened(api_version, kind, start.len() + items, start.len());
    head.append(&start);
    head.finish().into()
}

/// What stands before the message of an item in a list's body, when that has `length` bytes.
pub fn item_head(length: usize) -> Vec<u8> {
    let mut head = Writer::default();
    head.announce(list::ITEMS, length);
    head.finish()
}

/// A body up to its message of `length` bytes, with room for `room` bytes of it.
fn opened(api_version: &str, kind: &str, length: usize, room: usize) -> Writer {
    let mut type_meta = Writer::default();
    type_meta.bytes(unknown::API_VERSION, api_version.as_bytes());
    type_meta.bytes(unknown::KIND, kind.as_bytes());
    let mut body = Writer::starting_with(&MAGIC, room + 64);
    body.bytes(unknown::TYPE_META, &type_meta.finish());
    body.announce(unknown::RAW, length);
    body
}

/// One frame of a watch stream (4-byte length, then a WatchEvent) around a whole body from [`encode`] or [`envelope`].
pub fn watch_frame(event_type: &str, body: &[u8]) -> Bytes {
    let mut object = Writer::with_capacity(body.len() + 8);
    object.bytes(event::RAW, body);
    let mut message = Writer::with_capacity(body.len() + 32);
    message.bytes(event::TYPE, event_type.as_bytes());
    message.bytes(event::OBJECT, &object.finish());
    let message = message.finish();
    // Bodies are far below 4 GiB: the store bounds objects, and events carry one each.
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], &message].concat().into()
}

struct Envelope<'a> {
    api_version: &'a str,
    kind: &'a str,
    raw: &'a [u8],
}

impl<'a> Envelope<'a> {
    fn read(unknown: &'a [u8]) -> Result<Self, DecodeError> {
        let mut envelope = Self { api_version: "", kind: "", raw: &[] };
        for field in Fields::of(unknown) {
            let (number, value) = field?;
            match number {
                unknown::TYPE_META => envelope.read_type(value.bytes()?)?,
                unknown::RAW => envelope.raw = value.bytes()?,
                // contentEncoding and contentType are never set by clients.
                _ => {}
            }
        }
        Ok(envelope)
    }

    fn read_type(&mut self, type_meta: &'a [u8]) -> Result<(), DecodeError> {
        for field in Fields::of(type_meta) {
            match field? {
                (unknown::API_VERSION, value) => self.api_version = value.text()?,
                (unknown::KIND, value) => self.kind = value.text()?,
                _ => {}
            }
        }
        Ok(())
    }
}

/// The schema of a kind; option kinds are known under the version of whatever they accompany, evictions under that of old, too.
fn schema_of(gvk: &GroupVersionKind) -> Option<Schema> {
    let otherwise = || match (&*gvk.group, &*gvk.version, &*gvk.kind) {
        (_, _, kind @ ("DeleteOptions" | "Status" | "PartialObjectMetadata")) => {
            Schema::named(&format!("meta/v1.{kind}"))
        }
        ("policy", "v1beta1", "Eviction") => Schema::of_kind(&GroupVersionKind::new("policy", "v1", "Eviction")),
        _ => None,
    };
    Schema::of_kind(gvk).or_else(otherwise)
}

fn gvk_of(object: &Value) -> Option<GroupVersionKind> {
    GroupVersionKind::from_api_version(meta::text(object, &["apiVersion"]), meta::text(object, &["kind"]))
}

/// The message of a list's item, which may leave out what it is.
fn item_message(list: &GroupVersionKind, item: &Value) -> Option<Bytes> {
    let own = gvk_of(item).filter(|gvk| !gvk.kind.is_empty());
    let kind = list.kind.strip_suffix("List")?.to_owned();
    let gvk = own.unwrap_or_else(|| GroupVersionKind::new(list.group.clone(), list.version.clone(), kind));
    Some(write::message(&schema_of(&gvk)?, item).into())
}

fn list_message<'a>(list_meta: &Value, items: impl Iterator<Item = &'a [u8]>) -> Bytes {
    let mut message = Writer::default();
    let meta = Schema::named("meta/v1.ListMeta").map(|schema| write::message(&schema, list_meta));
    message.bytes(list::METADATA, &meta.unwrap_or_default());
    for item in items {
        message.bytes(list::ITEMS, item);
    }
    message.finish().into()
}

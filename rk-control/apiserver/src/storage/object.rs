//! One version of one object, serialized once.

use std::sync::OnceLock;

use bytes::Bytes;
use rk_api::custom::CustomKind;
use rk_api::resources::Resource;
use rk_api::status::Status;
use rk_store::{Entry, Revision};
use serde_json::Value;

use super::fields;

/// One version of one object, immutable.
#[derive(Debug)]
pub struct Cached {
    /// Namespace, empty for cluster-scoped objects.
    pub namespace: Box<str>,
    /// Name.
    pub name: Box<str>,
    /// The revision that is its resource version.
    pub revision: Revision,
    /// The fields that selectors look at, in the object's own shape.
    pub select: Value,
    json: Bytes,
    /// Where the members after `kind` and `apiVersion` begin: list items carry neither.
    body_at: usize,
    foreign: bool,
    message: OnceLock<Option<Bytes>>,
}

impl Cached {
    /// From what the store holds.
    ///
    /// # Errors
    /// 500 when it is no object; names the key.
    pub fn from_entry(hub: &Resource, entry: &Entry) -> Result<Self, Status> {
        Ok(Self::new(hub, &parse_entry(hub, entry)?, entry.mod_revision))
    }

    /// From a value in its storage version, with its resource version set.
    #[must_use]
    pub fn new(hub: &Resource, object: &Value, revision: Revision) -> Self {
        let (json, body_at) = serialize(object);
        // Items of custom kinds say what they are, since their readers have no types.
        let body_at = if hub.custom.is_some() { 1 } else { body_at };
        Self {
            namespace: rk_api::meta::namespace(object).into(),
            name: rk_api::meta::name(object).into(),
            revision,
            select: fields::reduce(hub, object),
            foreign: is_foreign(hub, object),
            json,
            body_at,
            message: OnceLock::new(),
        }
    }

    /// The object, parsed anew; the cache does not keep trees.
    #[must_use]
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.json).unwrap_or(Value::Null)
    }

    /// The object as JSON text.
    #[must_use]
    pub fn json(&self) -> &Bytes {
        &self.json
    }

    /// The object as a list item: without `kind` and `apiVersion`. The opening brace is to be written before it.
    #[must_use]
    pub fn item_json(&self) -> &[u8] {
        self.json.get(self.body_at..).unwrap_or_default()
    }

    /// The object's protobuf message, encoded on first use; `None` for kinds without one.
    #[must_use]
    pub fn message(&self) -> Option<&Bytes> {
        self.message.get_or_init(|| rk_api::proto::message(&self.value())).as_ref()
    }

    /// Whether it was stored in another version than it is now, and so must be converted before it is shown.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        self.foreign
    }

    /// What it holds in memory, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.json.len() + self.message.get().and_then(Option::as_ref).map_or(0, Bytes::len)
    }
}

/// Writes `kind` and `apiVersion` first, as upstream does, and tells where the rest begins.
fn serialize(object: &Value) -> (Bytes, usize) {
    let mut out = Vec::with_capacity(1024);
    out.push(b'{');
    let Some(members) = object.as_object() else { return (Bytes::from_static(b"{}"), 1) };
    let member = |out: &mut Vec<u8>, name: &str, value: &Value| {
        if out.len() > 1 {
            out.push(b',');
        }
        // Writing to a vector does not fail.
        let _ = serde_json::to_writer(&mut *out, name);
        out.push(b':');
        let _ = serde_json::to_writer(&mut *out, value);
    };
    for name in ["kind", "apiVersion"] {
        if let Some(value) = members.get(name) {
            member(&mut out, name, value);
        }
    }
    // Items begin after the comma that follows `apiVersion`.
    let body_at = if out.len() > 1 { out.len() + 1 } else { 1 };
    for (name, value) in members.iter().filter(|(name, _)| !matches!(name.as_str(), "kind" | "apiVersion")) {
        member(&mut out, name, value);
    }
    out.push(b'}');
    (Bytes::from(out), body_at)
}

/// Whether an object was stored in another version than the row's.
fn is_foreign(hub: &Resource, object: &Value) -> bool {
    hub.custom.is_some() && object.get("apiVersion").and_then(Value::as_str) != Some(hub.api_version().as_str())
}

/// Gives an object of a custom kind the form of its storage version as it is now.
fn complete(custom: &CustomKind, hub: &Resource, object: &mut Value) {
    let version = hub.api_version();
    if custom.conversion.is_some() && is_foreign(hub, object) {
        // Only its webhook knows what it is in this version.
        return;
    }
    if object.get("apiVersion").and_then(Value::as_str) != Some(version.as_str())
        && let Some(members) = object.as_object_mut()
    {
        members.insert("apiVersion".to_owned(), Value::String(version));
    }
    custom.complete(object, &hub.schema);
}

/// Parses a store entry and injects its resource version.
pub(super) fn parse_entry(hub: &Resource, entry: &Entry) -> Result<Value, Status> {
    let mut object: Value = serde_json::from_slice(&entry.value)
        .map_err(|error| Status::internal(format!("the store holds no JSON object at {}: {error}", entry.key)))?;
    set_resource_version(&mut object, entry.mod_revision);
    if let Some(custom) = &hub.custom {
        // The schema may have changed since the object was written.
        complete(custom, hub, &mut object);
    }
    Ok(object)
}

/// Sets `metadata.resourceVersion`.
pub(super) fn set_resource_version(object: &mut Value, revision: Revision) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("resourceVersion".to_owned(), Value::String(revision.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn kind_comes_first_and_items_leave_it_out() {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"}, "metadata": {"name": "x"}});
        let (text, at) = serialize(&object);
        let text = std::str::from_utf8(&text).unwrap();
        assert!(text.starts_with(r#"{"kind":"ConfigMap","apiVersion":"v1","#), "{text}");
        assert_eq!(format!("{{{}", &text[at..]), r#"{"data":{"a":"b"},"metadata":{"name":"x"}}"#);
    }
}

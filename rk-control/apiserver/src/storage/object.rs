//! One version of one object, serialized once.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use rk_api::resources::Resource;
use rk_api::status::Status;
use rk_store::{Change, Entry, Revision};
use serde_json::Value;

use super::prepared::{Prepared, Span, Text, serialize};
use super::selectable::{Selectable, addressing};

/// One version of one object, immutable.
#[derive(Debug)]
pub struct Cached {
    /// Namespace, empty for cluster-scoped objects.
    pub namespace: Box<str>,
    /// Name.
    pub name: Box<str>,
    /// The revision that is its resource version.
    pub revision: Revision,
    select: Arc<Selectable>,
    addressing: Option<Arc<Value>>,
    json: Bytes,
    /// Where the members after `kind` and `apiVersion` begin: list items carry neither.
    body_at: usize,
    /// Where the managed fields stand.
    managers: Span,
    foreign: bool,
    message: OnceLock<Option<Bytes>>,
    tree: OnceLock<Arc<Value>>,
}

impl Cached {
    /// From what the store holds.
    ///
    /// # Errors
    /// 500 when it is no object; names the key.
    pub fn from_entry(hub: &Resource, entry: &Entry) -> Result<Self, Status> {
        Ok(Self::new(hub, &parse_entry(hub, entry)?, entry.mod_revision))
    }

    /// From a change: with what this server prepared when it wrote the object, else parsed.
    ///
    /// # Errors
    /// As [`Cached::from_entry`].
    pub(super) fn from_change(hub: &Resource, change: &Change) -> Result<Self, Status> {
        let prepared = change.attached.as_ref().and_then(|attached| attached.get::<Prepared>());
        match prepared.and_then(|prepared| Self::prepared(prepared, &change.entry)) {
            Some(object) => Ok(object),
            None => Self::from_entry(hub, &change.entry),
        }
    }

    /// From what this server wrote: nothing is parsed. `None` when the text is not what was prepared.
    pub(super) fn prepared(prepared: &Prepared, entry: &Entry) -> Option<Self> {
        Some(Self {
            namespace: prepared.namespace.clone(),
            name: prepared.name.clone(),
            revision: entry.mod_revision,
            select: Arc::clone(&prepared.select),
            addressing: prepared.addressing.clone(),
            foreign: false,
            json: prepared.versioned(&entry.value, entry.mod_revision)?,
            body_at: prepared.body_at,
            managers: prepared.managers,
            message: OnceLock::new(),
            tree: OnceLock::new(),
        })
    }

    /// From a value in its storage version, with its resource version set.
    #[must_use]
    pub fn new(hub: &Resource, object: &Value, revision: Revision) -> Self {
        let Text { json, body_at, managers, .. } = serialize(object);
        // Items of custom kinds say what they are, since their readers have no types.
        let body_at = if hub.custom.is_some() { 1 } else { body_at };
        Self {
            namespace: rk_api::meta::namespace(object).into(),
            name: rk_api::meta::name(object).into(),
            revision,
            select: Arc::new(Selectable::new(hub, object)),
            addressing: addressing(hub, object),
            foreign: is_foreign(hub, object),
            json,
            body_at,
            managers,
            message: OnceLock::new(),
            tree: OnceLock::new(),
        }
    }

    /// The text of a field that selectors of the kind may name, as they compare it; empty for other fields.
    #[must_use]
    pub fn field(&self, name: &str) -> &str {
        match name {
            "metadata.name" => &self.name,
            "metadata.namespace" => &self.namespace,
            _ => self.select.field(name),
        }
    }

    /// The value of a label; `None` when there is no such label.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        self.select.label(key)
    }

    /// Of a Service its addresses and ports, in its own shape; null for other kinds.
    #[must_use]
    pub fn addressing(&self) -> &Value {
        self.addressing.as_deref().unwrap_or(&Value::Null)
    }

    /// The object, parsed once and kept: for the few objects that nearly every request asks about, such as its namespace.
    #[must_use]
    pub fn tree(&self) -> Arc<Value> {
        Arc::clone(self.tree.get_or_init(|| Arc::new(self.value())))
    }

    /// The object, parsed for this call; the cache keeps no tree of it.
    #[must_use]
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.json).unwrap_or(Value::Null)
    }

    /// The object as JSON text.
    #[must_use]
    pub fn json(&self) -> &Bytes {
        &self.json
    }

    /// The object as JSON text in two pieces, without its managed fields between them.
    #[must_use]
    pub fn unmanaged(&self) -> [&[u8]; 2] {
        let (from, to) = self.managers;
        let before = self.json.get(..from as usize).unwrap_or_default();
        [before, self.json.get(to as usize..).unwrap_or_default()]
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

/// Whether an object was stored in another version than the row's.
fn is_foreign(hub: &Resource, object: &Value) -> bool {
    hub.custom.is_some() && object.get("apiVersion").and_then(Value::as_str) != Some(hub.api_version().as_str())
}

/// Whether an entry holds an object in another version than the row's, whatever its readers make of it.
pub(super) fn is_of_another_version(hub: &Resource, entry: &Entry) -> bool {
    serde_json::from_slice(&entry.value).is_ok_and(|object: Value| is_foreign(hub, &object))
}

/// Parses a store entry and injects its resource version.
pub(super) fn parse_entry(hub: &Resource, entry: &Entry) -> Result<Value, Status> {
    let mut object: Value = serde_json::from_slice(&entry.value)
        .map_err(|error| Status::internal(format!("the store holds no JSON object at {}: {error}", entry.key)))?;
    set_resource_version(&mut object, entry.mod_revision);
    // The schema may have changed since the object was written. What was stored in another version stays as it is: it may say what this one
    // does not know, to readers of its own.
    if let Some(custom) = hub.custom.as_ref().filter(|_| !is_foreign(hub, &object)) {
        custom.complete(&mut object, &hub.schema);
    }
    Ok(object)
}

/// Sets `metadata.resourceVersion`.
pub(super) fn set_resource_version(object: &mut Value, revision: Revision) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("resourceVersion".to_owned(), Value::String(revision.to_string()));
    }
}

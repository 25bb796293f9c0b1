//! An object serialized before its revision is known, so that the cache neither parses nor serializes what this server wrote itself.

use std::sync::Arc;

use bytes::Bytes;
use rk_api::resources::Resource;
use serde_json::{Map, Value};

use super::selectable::{Selectable, addressing};

/// The member of the metadata that the store's revision fills.
const VERSION: &str = "resourceVersion";
/// The member that the server's own components do not read.
const MANAGERS: &str = "managedFields";

/// What the cache needs beside the stored text of an object.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) namespace: Box<str>,
    pub(super) name: Box<str>,
    pub(super) select: Arc<Selectable>,
    pub(super) addressing: Option<Arc<Value>>,
    pub(super) body_at: usize,
    /// Where in the text the resource version belongs: after another member of the metadata.
    version_at: usize,
    /// Where in the text the managed fields stand, which is before the resource version.
    pub(super) managers: Span,
}

/// From where to where in a text; nowhere where both are the same.
pub(super) type Span = (u32, u32);

impl Prepared {
    /// The text that is stored, and what the cache needs beside it: nothing for custom kinds, whose form depends on their definition, and for
    /// objects without names.
    pub(super) fn new(hub: &Resource, object: &Value) -> (Bytes, Option<Self>) {
        let text = serialize(object);
        let version_at = text.version_at.filter(|_| hub.custom.is_none());
        let managers = text.managers;
        let prepared = version_at.map(|version_at| Self {
            namespace: rk_api::meta::namespace(object).into(),
            name: rk_api::meta::name(object).into(),
            select: Arc::new(Selectable::new(hub, object)),
            addressing: addressing(hub, object),
            body_at: text.body_at,
            version_at,
            managers,
        });
        (text.json, prepared)
    }

    /// The stored text with its resource version.
    pub(super) fn versioned(&self, stored: &[u8], revision: u64) -> Option<Bytes> {
        let (before, after) = stored.split_at_checked(self.version_at)?;
        Some([before, format!(",\"{VERSION}\":\"{revision}\"").as_bytes(), after].concat().into())
    }
}

/// An object as text.
pub(super) struct Text {
    pub(super) json: Bytes,
    /// Where the members after `kind` and `apiVersion` begin: list items carry neither.
    pub(super) body_at: usize,
    /// Where a resource version would be inserted; `None` where the object has one, or no other metadata before it.
    version_at: Option<usize>,
    /// Where `managedFields` stands, with the comma before it.
    pub(super) managers: Span,
}

/// Writes `kind` and `apiVersion` first, as upstream does, and tells where the rest begins.
pub(super) fn serialize(object: &Value) -> Text {
    let mut out = Vec::with_capacity(1024);
    let Some(members) = object.as_object() else {
        return Text { json: Bytes::from_static(b"{}"), body_at: 1, version_at: None, managers: (0, 0) };
    };
    out.push(b'{');
    for name in ["kind", "apiVersion"] {
        if let Some(value) = members.get(name) {
            write_member(&mut out, name, value);
        }
    }
    // Items begin after the comma that follows `apiVersion`.
    let body_at = if out.len() > 1 { out.len() + 1 } else { 1 };
    let (mut version_at, mut managers) = (None, (0, 0));
    for (name, value) in members.iter().filter(|(name, _)| !matches!(name.as_str(), "kind" | "apiVersion")) {
        match value {
            Value::Object(metadata) if name == "metadata" => {
                write_name(&mut out, name);
                (version_at, managers) = write_metadata(&mut out, metadata);
            }
            _ => write_member(&mut out, name, value),
        }
    }
    out.push(b'}');
    // What the cache holds for as long as there is the object has no room to grow.
    Text { json: Bytes::from(out.into_boxed_slice()), body_at, version_at, managers }
}

/// Tells where a resource version belongs in what it wrote, and where the managed fields stand.
fn write_metadata(out: &mut Vec<u8>, metadata: &Map<String, Value>) -> (Option<usize>, Span) {
    out.push(b'{');
    let start = out.len();
    let (mut version_at, mut managers) = (None, (0, 0));
    for (name, value) in metadata {
        let before = out.len();
        write_member(out, name, value);
        // The first member has no comma before it to be left out with.
        if name == MANAGERS && before > start {
            managers = span(before, out.len());
        }
        if name.as_str() < VERSION {
            version_at = Some(out.len());
        }
    }
    out.push(b'}');
    (version_at.filter(|at| *at > start && !metadata.contains_key(VERSION)), managers)
}

/// Nowhere for what is beyond all that is stored.
fn span(from: usize, to: usize) -> Span {
    match (u32::try_from(from), u32::try_from(to)) {
        (Ok(from), Ok(to)) => (from, to),
        _ => (0, 0),
    }
}

fn write_member(out: &mut Vec<u8>, name: &str, value: &Value) {
    write_name(out, name);
    // Writing to a vector does not fail.
    let _ = serde_json::to_writer(out, value);
}

fn write_name(out: &mut Vec<u8>, name: &str) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    let _ = serde_json::to_writer(&mut *out, name);
    out.push(b':');
}

#[cfg(test)]
mod tests {
    use super::super::object::{Cached, parse_entry};
    use super::*;
    use rk_api::resources::Registry;
    use serde_json::json;

    #[test]
    fn kind_comes_first_and_items_leave_it_out() {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"}, "metadata": {"name": "x"}});
        let Text { json: text, body_at, .. } = serialize(&object);
        let text = std::str::from_utf8(&text).unwrap();
        assert!(text.starts_with(r#"{"kind":"ConfigMap","apiVersion":"v1","#), "{text}");
        assert_eq!(format!("{{{}", &text[body_at..]), r#"{"data":{"a":"b"},"metadata":{"name":"x"}}"#);
    }

    #[test]
    fn what_was_prepared_is_what_would_have_been_parsed() {
        let registry = Registry::builtin();
        let pods = registry.get("", "v1", "pods").unwrap();
        for metadata in [
            json!({"name": "p", "namespace": "n"}),
            json!({"name": "p", "uid": "u", "labels": {"resourceVersion": "}"}, "annotations": {"{\"": "\\\""}}),
            json!({"labels": {"a": "b"}, "managedFields": [{"manager": "m"}], "name": "p", "uid": "u"}),
        ] {
            let object = json!({
                "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"nodeName": "a", "metadata": {}},
            });
            let (stored, prepared) = Prepared::new(pods, &object);
            let entry = rk_store::Entry { key: "/k".into(), value: stored, create_revision: 7, mod_revision: 7 };
            let parsed = Cached::new(pods, &parse_entry(pods, &entry).unwrap(), 7);
            let spliced = Cached::prepared(&prepared.unwrap(), &entry).unwrap();
            assert_eq!(spliced.json(), parsed.json());
            assert_eq!(spliced.item_json(), parsed.item_json());
            assert_eq!(spliced.unmanaged(), parsed.unmanaged());
            for field in ["metadata.name", "metadata.namespace", "spec.nodeName", "status.phase"] {
                assert_eq!(spliced.field(field), parsed.field(field), "{field}");
            }
            assert_eq!((spliced.field("spec.nodeName"), spliced.label("a")), ("a", parsed.label("a")));
        }
    }

    #[test]
    fn an_object_is_told_without_its_managers_and_with_all_else() {
        let registry = Registry::builtin();
        let maps = registry.get("", "v1", "configmaps").unwrap();
        let told = |metadata: &Value| {
            let object = json!({
                "apiVersion": "v1", "kind": "ConfigMap", "data": {"managedFields": "kept"}, "metadata": metadata,
            });
            let text = Cached::new(maps, &object, 7).unmanaged().concat();
            let without: Value = serde_json::from_slice(&text).unwrap();
            assert_eq!(without["data"]["managedFields"], "kept");
            without["metadata"].clone()
        };
        let list = json!([{"manager": "m", "fieldsV1": {"f:data": {"f:managedFields": {}}}}]);
        let labels = json!({"managedFields": "b"});
        let managed = json!({"labels": labels, "managedFields": list, "name": "x", "resourceVersion": "7"});
        assert_eq!(told(&managed), json!({"labels": labels, "name": "x", "resourceVersion": "7"}));
        for whole in [json!({}), json!({"labels": labels, "name": "x"}), json!({"managedFields": list, "name": "x"})] {
            assert_eq!(told(&whole), whole);
        }
    }

    #[test]
    fn an_object_without_a_place_for_its_version_is_not_prepared() {
        let registry = Registry::builtin();
        let maps = registry.get("", "v1", "configmaps").unwrap();
        for metadata in [json!({}), json!({"uid": "u"}), json!({"name": "x", "resourceVersion": "3"})] {
            let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata});
            assert!(Prepared::new(maps, &object).1.is_none(), "{object}");
        }
    }
}

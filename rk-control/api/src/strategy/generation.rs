//! When `metadata.generation` goes up.

use serde_json::{Value, json};

use super::traits::Generation;
use crate::meta::at;

/// What of an object is not its content.
const NO_CONTENT: [&str; 4] = ["metadata", "status", "apiVersion", "kind"];

/// The generation of a new object.
pub(super) fn initial(kind: Generation) -> Option<i64> {
    match kind {
        Generation::None | Generation::SpecOnUpdate => None,
        _ => Some(1),
    }
}

/// Sets the generation of `new`: the old one, or one more.
pub(super) fn carry(kind: Generation, new: &mut Value, old: &Value) {
    let before = at(old, &["metadata", "generation"]).as_i64().unwrap_or(0);
    let after = before + i64::from(changed(kind, new, old));
    let Some(metadata) = new.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    if after == 0 {
        metadata.remove("generation");
    } else {
        metadata.insert("generation".into(), json!(after));
    }
}

fn changed(kind: Generation, new: &Value, old: &Value) -> bool {
    let differs = |path: &[&str]| at(new, path) != at(old, path);
    match kind {
        Generation::None | Generation::Fixed => false,
        Generation::Spec | Generation::SpecOnUpdate => differs(&["spec"]),
        Generation::SpecAndAnnotations => differs(&["spec"]) || differs(&["metadata", "annotations"]),
        Generation::Content => content_differs(new, old, &NO_CONTENT),
        Generation::ContentAndLabels => content_differs(new, old, &NO_CONTENT) || differs(&["metadata", "labels"]),
        Generation::Whole => content_differs(new, old, &["metadata", "apiVersion", "kind"]),
    }
}

fn content_differs(new: &Value, old: &Value, ignored: &[&str]) -> bool {
    let (Some(new), Some(old)) = (new.as_object(), old.as_object()) else { return new != old };
    let ignored = |key: &str| ignored.contains(&key);
    let one_way = |a: &crate::Object, b: &crate::Object| a.iter().any(|(k, v)| !ignored(k) && b.get(k) != Some(v));
    one_way(new, old) || one_way(old, new)
}

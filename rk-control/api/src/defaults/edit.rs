//! Writing into objects.

use serde_json::{Value, json};

use crate::Object;

/// Whether a field is absent (null counts as absent).
pub(super) fn unset(object: &Object, key: &str) -> bool {
    object.get(key).is_none_or(Value::is_null)
}

/// Sets a field that is absent.
pub(super) fn default(object: &mut Object, key: &str, value: impl Into<Value>) {
    if unset(object, key) {
        object.insert(key.to_owned(), value.into());
    }
}

/// A string field, or the empty string.
pub(super) fn text<'a>(object: &'a Object, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The object in a field, when there is one.
pub(super) fn child<'a>(object: &'a mut Object, key: &str) -> Option<&'a mut Object> {
    object.get_mut(key)?.as_object_mut()
}

/// The object in a field, made when absent. `None` when something else stands there.
pub(super) fn ensure<'a>(object: &'a mut Object, key: &str) -> Option<&'a mut Object> {
    default(object, key, json!({}));
    child(object, key)
}

/// The objects of a list field.
pub(super) fn each<'a>(object: &'a mut Object, key: &str) -> impl Iterator<Item = &'a mut Object> + use<'a> {
    object.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

/// Whether a list or map field has no element.
pub(super) fn empty(object: &Object, key: &str) -> bool {
    match object.get(key) {
        Some(Value::Array(items)) => items.is_empty(),
        Some(Value::Object(entries)) => entries.is_empty(),
        other => other.is_none_or(Value::is_null),
    }
}

/// Copies the entries of one map field into another where that has none.
pub(super) fn copy_missing(object: &mut Object, from: &str, to: &str) {
    let Some(source) = object.get(from).and_then(Value::as_object).filter(|m| !m.is_empty()).cloned() else {
        return;
    };
    if let Some(target) = ensure(object, to) {
        for (key, value) in source {
            target.entry(key).or_insert(value);
        }
    }
}

/// Keeps a single-valued field of old in step with the list that replaced it: the list's first element is the single value. Where the
/// two differ the single value wins, since only an old client writes it alone.
pub(super) fn both(object: &mut Object, single: &str, list: &str, element: fn(&str) -> Value) {
    let first = |object: &Object| object.get(list).and_then(|l| l.get(0)).cloned();
    let one = text(object, single).to_owned();
    match first(object) {
        Some(value) if one.is_empty() => {
            let value = value.get("ip").cloned().unwrap_or(value);
            object.insert(single.to_owned(), value);
        }
        Some(value) if value == element(&one) => {}
        _ if one.is_empty() => {}
        _ => {
            object.insert(list.to_owned(), Value::Array(vec![element(&one)]));
        }
    }
}

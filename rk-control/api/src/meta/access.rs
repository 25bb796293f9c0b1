//! Reading and writing `metadata`.

use serde_json::Value;

/// A string at a path of field names, or the empty string.
pub fn text<'a>(object: &'a Value, path: &[&str]) -> &'a str {
    at(object, path).as_str().unwrap_or_default()
}

/// The value at a path of field names, or null.
pub fn at<'a>(object: &'a Value, path: &[&str]) -> &'a Value {
    path.iter().fold(object, |v, key| v.get(key).unwrap_or(&Value::Null))
}

/// The items of a list at a path of field names; none where there is no list.
pub fn list<'a>(object: &'a Value, path: &[&str]) -> &'a [Value] {
    at(object, path).as_array().map_or(&[], Vec::as_slice)
}

/// `metadata.name`, or the empty string.
pub fn name(object: &Value) -> &str {
    text(object, &["metadata", "name"])
}

/// `metadata.namespace`, or the empty string.
pub fn namespace(object: &Value) -> &str {
    text(object, &["metadata", "namespace"])
}

/// `metadata.uid`, or the empty string.
pub fn uid(object: &Value) -> &str {
    text(object, &["metadata", "uid"])
}

/// `metadata.resourceVersion`, or the empty string.
pub fn resource_version(object: &Value) -> &str {
    text(object, &["metadata", "resourceVersion"])
}

/// `metadata.labels`, or null.
pub fn labels(object: &Value) -> &Value {
    at(object, &["metadata", "labels"])
}

/// Whether `metadata.deletionTimestamp` is set.
pub fn is_deleting(object: &Value) -> bool {
    !at(object, &["metadata", "deletionTimestamp"]).is_null()
}

/// Writes a value at a path of field names and makes the objects on the way. Where something else stands in the way, nothing
/// happens: such an object does not fit its kind and was or will be refused.
pub fn set(object: &mut Value, path: &[&str], value: impl Into<Value>) {
    let Some((last, parents)) = path.split_last() else { return };
    let mut place = object;
    for key in parents {
        let Some(fields) = place.as_object_mut() else { return };
        place = fields.entry(*key).or_insert(Value::Null);
        if place.is_null() {
            *place = Value::Object(crate::Object::new());
        }
    }
    if let Some(fields) = place.as_object_mut() {
        fields.insert((*last).to_owned(), value.into());
    }
}

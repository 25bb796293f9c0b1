//! Strategic merge patch: a merge patch that knows which lists merge, and by which key.
//!
//! Directives: `$patch` (replace, delete), `$retainKeys`, `$deleteFromPrimitiveList/<field>`, `$setElementOrder/<field>`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::PatchError;
use super::list::{merge_list, order_list, remove_scalars};
use super::shown::{MAP, shown_as_text, shown_map, unfit};
use crate::Object;
use crate::schema::{Schema, Shape};

pub(super) const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const SET_ORDER: &str = "$setElementOrder/";

/// Applies a strategic merge patch in place. On error the object is unchanged.
///
/// # Errors
/// A malformed directive, an element without its merge key, a patch that is no object.
pub fn strategic_merge_patch(object: &mut Value, patch: &Value, schema: &Schema) -> Result<(), PatchError> {
    match (&*object, patch) {
        // Null is an object without members to upstream's decoder.
        (_, Value::Null) => {}
        (Value::Object(original), Value::Object(patch)) => {
            *object = Value::Object(merge_map(original.clone(), patch, schema)?);
        }
        _ => return Err(malformed(unfit(patch, MAP))),
    }
    Ok(())
}

/// What merging leaves of a patch, which upstream shows when the result does not fit: directives that were followed are gone, with the
/// lists that they put in order.
pub fn spent(patch: &Value) -> Value {
    match patch {
        Value::Object(object) => {
            let ordered = |key: &str| object.contains_key(&format!("{SET_ORDER}{key}"));
            let kept = object.iter().filter(|(key, _)| {
                key.as_str() != RETAIN_KEYS && !key.starts_with(SET_ORDER) && !ordered(key.as_str())
            });
            Value::Object(kept.map(|(key, value)| (key.clone(), spent(value))).collect())
        }
        Value::Array(items) => items.iter().map(spent).collect(),
        other => other.clone(),
    }
}

pub(super) fn malformed(text: impl Into<String>) -> PatchError {
    PatchError::Malformed(text.into())
}

pub(super) fn unanswered(text: impl Into<String>) -> PatchError {
    PatchError::Unanswered(text.into())
}

/// A `$patch` that says something unknown.
pub(super) fn unknown_directive(directive: &Value, object: &Object) -> PatchError {
    unanswered(format!("unknown patch type: {} in map: {}", shown_as_text(directive), shown_map(object)))
}

/// Merges a patch into one object.
pub(super) fn merge_map(mut original: Object, patch: &Object, schema: &Schema) -> Result<Object, PatchError> {
    if let Some(directive) = patch.get(PATCH) {
        return match directive.as_str() {
            Some("replace") => Ok(without_directives(patch)),
            Some("delete") => Ok(Object::new()),
            _ => Err(unknown_directive(directive, patch)),
        };
    }
    check_directives(patch)?;
    if let Some(keys) = patch.get(RETAIN_KEYS) {
        retain_keys(&mut original, patch, keys)?;
    }
    for (key, value) in patch.iter().filter(|(key, _)| !is_directive(key)) {
        merge_field(&mut original, key, value, schema)?;
    }
    for (key, order) in patch {
        if let Some(field) = key.strip_prefix(SET_ORDER) {
            let merge_key = known(schema, field)?.merge_key();
            order_list(&mut original, patch.get(field), field, order, merge_key)?;
        }
    }
    // What is deleted is gone, even if the same patch adds or orders it.
    for (key, scalars) in patch {
        if let Some(field) = key.strip_prefix(DELETE_FROM) {
            remove_scalars(&mut original, field, scalars)?;
        }
    }
    Ok(original)
}

/// A directive about a field must name one.
fn check_directives(patch: &Object) -> Result<(), PatchError> {
    for (prefix, what) in [(DELETE_FROM, "primitive list"), (SET_ORDER, "setElementOrder list")] {
        let bare = prefix.trim_end_matches('/');
        if patch.keys().any(|key| key.starts_with(bare) && !key.starts_with(prefix)) {
            return Err(malformed(format!("invalid patch format of {what}")));
        }
    }
    Ok(())
}

fn is_directive(key: &str) -> bool {
    key == PATCH || key == RETAIN_KEYS || key.starts_with(DELETE_FROM) || key.starts_with(SET_ORDER)
}

fn merge_field(original: &mut Object, key: &str, patch: &Value, schema: &Schema) -> Result<(), PatchError> {
    if patch.is_null() {
        original.remove(key);
        return Ok(());
    }
    let merged = match (original.remove(key), patch) {
        (Some(Value::Object(old)), Value::Object(patch)) => merge_objects(old, patch, &known(schema, key)?)?,
        (Some(Value::Array(old)), Value::Array(list)) => match known(schema, key)? {
            field if field.patch_merges() => Value::Array(merge_list(old, list, &field)?),
            // What replaces a list is taken as it stands, directives and all: the decoder makes of them what it can.
            _ => patch.clone(),
        },
        // What a directive is about is not there.
        (_, Value::Object(patch)) if patch.contains_key(PATCH) => return Ok(()),
        // What is new is taken as it is: the decoder reports unknown fields, validation what else is wrong with it.
        (_, patch) => clean(patch),
    };
    original.insert(key.to_owned(), merged);
    Ok(())
}

fn merge_objects(old: Object, patch: &Object, field: &Schema) -> Result<Value, PatchError> {
    if field.patch_replaces() {
        return Ok(Value::Object(patch.clone()));
    }
    merge_map(old, patch, field).map(Value::Object)
}

/// The schema of a field; only what the schema knows can be merged.
fn known(schema: &Schema, key: &str) -> Result<Schema, PatchError> {
    let field = match schema.shape() {
        Shape::Map => Some(schema.item()),
        Shape::Object => schema.field(key),
        _ => Some(Schema::ANY),
    };
    field.ok_or_else(|| {
        let owner = schema.type_name().rsplit('.').next().unwrap_or_default();
        unanswered(format!("unable to find api field in struct {owner} for the json field {key:?}"))
    })
}

/// Keeps only the named keys; every key that the patch sets must be among them.
fn retain_keys(original: &mut Object, patch: &Object, keys: &Value) -> Result<(), PatchError> {
    let bad = || malformed("invalid patch format of retainKeys");
    let keys: BTreeSet<&str> =
        keys.as_array().ok_or_else(bad)?.iter().map(|k| k.as_str().ok_or_else(bad)).collect::<Result<_, _>>()?;
    if patch.iter().any(|(key, value)| !is_directive(key) && !value.is_null() && !keys.contains(key.as_str())) {
        return Err(bad());
    }
    original.retain(|key, _| keys.contains(key.as_str()));
    Ok(())
}

/// A patch value as new content: directives, with the objects that they are about, and nulls gone at every depth.
pub(super) fn clean(value: &Value) -> Value {
    match value {
        Value::Object(object) => Value::Object(without_directives(object)),
        Value::Array(items) => items.iter().filter(|i| i.get(PATCH).is_none()).map(clean).collect(),
        other => other.clone(),
    }
}

fn without_directives(object: &Object) -> Object {
    object
        .iter()
        .filter(|(key, value)| !is_directive(key) && !value.is_null() && value.get(PATCH).is_none())
        .map(|(key, value)| (key.clone(), clean(value)))
        .collect()
}

//! Lists under strategic merge patch: merging by key, deletion, order.

use serde_json::Value;

use super::PatchError;
use super::strategic::{PATCH, clean, malformed, merge_map};
use crate::Object;
use crate::schema::Schema;

/// Merges a patch list into a list, then brings both into one order: the patch's among its own elements, the original's
/// where both know an element.
pub(super) fn merge_list(original: Vec<Value>, patch: &[Value], field: &Schema) -> Result<Vec<Value>, PatchError> {
    let key = field.merge_key();
    let order = original.clone();
    let merged = if original.iter().chain(patch).any(Value::is_object) {
        if key.is_empty() {
            return Err(malformed("cannot merge lists without merge key"));
        }
        match special_elements(original, patch, key)? {
            Special::Replaced(list) => return Ok(list),
            Special::Merge(original, patch) => merge_elements(original, &patch, key, &field.item())?,
        }
    } else {
        let mut merged = original;
        for value in patch.iter().filter(|v| !v.is_null()) {
            if !merged.contains(value) {
                merged.push(value.clone());
            }
        }
        merged
    };
    Ok(ordered(merged, patch, &order, key))
}

enum Special<'a> {
    /// `$patch: replace` stood in the list: this is the whole result.
    Replaced(Vec<Value>),
    /// The original without deleted elements, and the patch without directives.
    Merge(Vec<Value>, Vec<&'a Object>),
}

fn special_elements<'a>(mut original: Vec<Value>, patch: &'a [Value], key: &str) -> Result<Special<'a>, PatchError> {
    let mut rest = Vec::new();
    let mut replace = false;
    for element in patch {
        let Value::Object(object) = element else {
            return Err(malformed("lists of objects and scalars cannot be merged"));
        };
        match object.get(PATCH).map(|v| v.as_str().unwrap_or_default()) {
            None => rest.push(object),
            Some("replace") => replace = true,
            Some("merge") => {}
            Some("delete") => {
                let id = object.get(key).ok_or_else(|| malformed("delete patch type with no merge key defined"))?;
                original.retain(|o| o.get(key) != Some(id));
            }
            Some(other) => return Err(malformed(format!("unknown patch type: {other}"))),
        }
    }
    if replace {
        return Ok(Special::Replaced(patch.iter().filter(|e| e.get(PATCH).is_none()).map(clean).collect()));
    }
    Ok(Special::Merge(original, rest))
}

fn merge_elements(
    mut original: Vec<Value>,
    patch: &[&Object],
    key: &str,
    item: &Schema,
) -> Result<Vec<Value>, PatchError> {
    for element in patch {
        let id = element.get(key).ok_or_else(|| {
            malformed(format!("map: {} does not contain declared merge key: {key}", Value::Object((*element).clone())))
        })?;
        match original.iter_mut().find(|o| o.get(key) == Some(id)) {
            Some(Value::Object(old)) => *old = merge_map(std::mem::take(old), element, item)?,
            _ => original.push(Value::Object(merge_map(Object::new(), element, item)?)),
        }
    }
    Ok(original)
}

/// Whether two elements are the same one: by key among objects, by value among scalars.
fn same(a: &Value, b: &Value, key: &str) -> bool {
    if key.is_empty() || !a.is_object() { a == b } else { a.get(key).is_some() && a.get(key) == b.get(key) }
}

fn position(list: &[Value], element: &Value, key: &str) -> Option<usize> {
    list.iter().position(|e| same(e, element, key))
}

/// Elements that the patch names stand in its order; the others keep theirs and their place relative to those.
fn ordered(merged: Vec<Value>, patch_order: &[Value], server_order: &[Value], key: &str) -> Vec<Value> {
    let (mut ours, mut theirs): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|e| position(patch_order, e, key).is_some());
    ours.sort_by_key(|e| position(patch_order, e, key));
    theirs.sort_by_key(|e| position(server_order, e, key).unwrap_or(usize::MAX));
    let mut out = Vec::with_capacity(ours.len() + theirs.len());
    let (mut ours, mut theirs) = (ours.into_iter().peekable(), theirs.into_iter().peekable());
    while let (Some(our), Some(their)) = (ours.peek(), theirs.peek()) {
        let before = match (position(server_order, their, key), position(server_order, our, key)) {
            (Some(their), Some(our)) => their < our,
            _ => false,
        };
        out.extend(if before { theirs.next() } else { ours.next() });
    }
    out.extend(ours);
    out.extend(theirs);
    out
}

/// `$setElementOrder/<field>`: orders the merged list; every element of the patch must be named in the order.
pub(super) fn order_list(
    object: &mut Object,
    patch: Option<&Value>,
    field: &str,
    order: &Value,
    key: &str,
) -> Result<(), PatchError> {
    let order = order.as_array().ok_or_else(|| malformed("invalid patch format of setElementOrder list"))?;
    let patched: &[Value] = patch.and_then(Value::as_array).map_or(&[], Vec::as_slice);
    let named: Vec<&Value> = patched.iter().filter(|e| e.get(PATCH).is_none()).collect();
    if let Some(stray) = named.iter().find(|e| position(order, e, key).is_none()) {
        return Err(malformed(format!(
            "The order in patch list doesn't match $setElementOrder list: {stray} is not in it"
        )));
    }
    if let Some(Value::Array(list)) = object.get_mut(field) {
        let server_order = list.clone();
        *list = ordered(std::mem::take(list), order, &server_order, key);
    }
    Ok(())
}

/// `$deleteFromPrimitiveList/<field>`.
pub(super) fn remove_scalars(object: &mut Object, field: &str, scalars: &Value) -> Result<(), PatchError> {
    let scalars = scalars.as_array().ok_or_else(|| malformed("invalid patch format of primitive list"))?;
    if let Some(Value::Array(list)) = object.get_mut(field) {
        list.retain(|v| !scalars.contains(v));
    }
    Ok(())
}

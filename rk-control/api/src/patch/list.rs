//! Lists under strategic merge patch: merging by key, deletion, order.

use std::collections::{HashMap, HashSet};

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
        let mut known: HashSet<&Value> = order.iter().collect();
        let mut merged = original;
        for value in patch.iter().filter(|v| !v.is_null()) {
            if known.insert(value) {
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
    let mut deleted: HashSet<&Value> = HashSet::new();
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
                deleted.insert(id);
            }
            Some(other) => return Err(malformed(format!("unknown patch type: {other}"))),
        }
    }
    original.retain(|o| o.get(key).is_none_or(|id| !deleted.contains(id)));
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
    let mut places: HashMap<Value, usize> = HashMap::new();
    for (place, element) in original.iter().enumerate() {
        if let Some(id) = element.get(key) {
            places.entry(id.clone()).or_insert(place);
        }
    }
    for element in patch {
        let id = element.get(key).ok_or_else(|| {
            malformed(format!("map: {} does not contain declared merge key: {key}", Value::Object((*element).clone())))
        })?;
        match places.get(id).and_then(|place| original.get_mut(*place)) {
            Some(Value::Object(old)) => *old = merge_map(std::mem::take(old), element, item)?,
            _ => {
                places.insert(id.clone(), original.len());
                original.push(Value::Object(merge_map(Object::new(), element, item)?));
            }
        }
    }
    Ok(original)
}

/// What tells an element from others: its key among objects, itself among scalars, with whether it is itself.
fn identity<'a>(element: &'a Value, key: &str) -> Option<(bool, &'a Value)> {
    if key.is_empty() || !element.is_object() {
        return Some((true, element));
    }
    element.get(key).map(|id| (false, id))
}

/// Where each element of a list first stands.
struct Places<'a>(HashMap<(bool, &'a Value), usize>);

impl<'a> Places<'a> {
    fn of(list: &'a [Value], key: &str) -> Self {
        let mut places = HashMap::new();
        for (place, element) in list.iter().enumerate() {
            if let Some(id) = identity(element, key) {
                places.entry(id).or_insert(place);
            }
        }
        Self(places)
    }

    fn position(&self, element: &Value, key: &str) -> Option<usize> {
        self.0.get(&identity(element, key)?).copied()
    }
}

/// Elements that the patch names stand in its order; the others keep theirs and their place relative to those.
fn ordered(merged: Vec<Value>, patch_order: &[Value], server_order: &[Value], key: &str) -> Vec<Value> {
    let (in_patch, in_server) = (Places::of(patch_order, key), Places::of(server_order, key));
    let (mut ours, mut theirs): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|e| in_patch.position(e, key).is_some());
    ours.sort_by_key(|e| in_patch.position(e, key));
    theirs.sort_by_key(|e| in_server.position(e, key).unwrap_or(usize::MAX));
    let mut out = Vec::with_capacity(ours.len() + theirs.len());
    let (mut ours, mut theirs) = (ours.into_iter().peekable(), theirs.into_iter().peekable());
    while let (Some(our), Some(their)) = (ours.peek(), theirs.peek()) {
        let before = match (in_server.position(their, key), in_server.position(our, key)) {
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
    let places = Places::of(order, key);
    if let Some(stray) = named.iter().find(|e| places.position(e, key).is_none()) {
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
    let scalars: HashSet<&Value> = scalars.iter().collect();
    if let Some(Value::Array(list)) = object.get_mut(field) {
        list.retain(|v| !scalars.contains(v));
    }
    Ok(())
}

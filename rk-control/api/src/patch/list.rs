//! Lists under strategic merge patch: merging by key, deletion, order.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::PatchError;
use super::shown::{shown_list, shown_map, type_name};
use super::strategic::{PATCH, clean, merge_map, unanswered, unknown_directive};
use crate::Object;
use crate::schema::Schema;

/// Merges a patch list into a list, then brings both into one order: the patch's among its own elements, the original's
/// where both know an element.
pub(super) fn merge_list(original: Vec<Value>, patch: &[Value], field: &Schema) -> Result<Vec<Value>, PatchError> {
    let key = field.merge_key();
    let order = original.clone();
    let merged = if of_objects(&original, patch)? {
        if key.is_empty() {
            // Only lists of words merge without one.
            return Err(unanswered("cannot merge lists without merge key for string"));
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

/// Whether elements are objects. All of them must be of one type.
fn of_objects(original: &[Value], patch: &[Value]) -> Result<bool, PatchError> {
    let mut elements = original.iter().chain(patch).filter(|element| !element.is_null());
    let Some(first) = elements.next() else {
        return Ok(false);
    };
    if first.is_array() {
        return Err(PatchError::Unprocessable("lists of lists are not supported".into()));
    }
    if elements.any(|element| type_name(element) != type_name(first)) {
        return Err(mixed(original, patch));
    }
    Ok(first.is_object())
}

fn mixed(original: &[Value], patch: &[Value]) -> PatchError {
    let (original, patch) = (shown_list(original), shown_list(patch));
    unanswered(format!("list element types are not identical: [{original} {patch}]"))
}

fn wrong_type(wanted: &Value, found: &Value) -> PatchError {
    unanswered(format!("expected a {}, but received a {}", type_name(wanted), type_name(found)))
}

/// The value by which an element is told from others.
fn key_of<'a>(element: &'a Object, key: &str) -> Result<&'a Value, PatchError> {
    element
        .get(key)
        .ok_or_else(|| unanswered(format!("map: {} does not contain declared merge key: {key}", shown_map(element))))
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
            return Err(mixed(&original, patch));
        };
        let Some(directive) = object.get(PATCH) else {
            rest.push(object);
            continue;
        };
        match directive.as_str() {
            Some("replace") => replace = true,
            Some("delete") => {
                deleted.insert(key_of(object, key)?);
            }
            Some("merge") => return Err(unanswered("merging lists cannot yet be specified in the patch")),
            _ => return Err(unknown_directive(directive, object)),
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
        let id = key_of(element, key)?;
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

fn as_list(value: &Value) -> Result<&[Value], PatchError> {
    value.as_array().map(Vec::as_slice).ok_or_else(|| wrong_type(&Value::Array(Vec::new()), value))
}

fn as_object(value: &Value) -> Result<&Object, PatchError> {
    value.as_object().ok_or_else(|| wrong_type(&Value::Object(Object::new()), value))
}

/// Whether two elements are the same one, by their key if there is one.
fn same_element(left: &Value, right: &Value, key: &str) -> Result<bool, PatchError> {
    if key.is_empty() {
        return Ok(left == right);
    }
    let (left, right) = (as_object(left)?, as_object(right)?);
    Ok(key_of(left, key)? == key_of(right, key)?)
}

/// The elements of a patch must be named in an order, and in that order; those that it deletes need not.
fn check_order(patch: &[Value], order: &[Value], key: &str) -> Result<(), PatchError> {
    if patch.is_empty() || order.is_empty() {
        return Ok(());
    }
    if let Some(stray) = patch.iter().find(|element| !key.is_empty() && !element.is_object()) {
        as_object(stray)?;
    }
    let is_deletion = |element: &&Value| element.get(PATCH).and_then(Value::as_str) == Some("delete");
    let mut elements = patch.iter().filter(|element| !is_deletion(element)).peekable();
    let mut places = order.iter().peekable();
    while let (Some(element), Some(place)) = (elements.peek().copied(), places.peek().copied()) {
        if element.get(PATCH).is_some() {
            elements.next();
            continue;
        }
        if same_element(element, place, key)? {
            elements.next();
        }
        places.next();
    }
    if elements.peek().is_none() {
        return Ok(());
    }
    let (patch, order) = (shown_list(patch), shown_list(order));
    Err(unanswered(format!("The order in patch list:\n{patch}\n doesn't match $setElementOrder list:\n{order}\n")))
}

/// `$setElementOrder/<field>`: orders the merged list.
pub(super) fn order_list(
    object: &mut Object,
    patch: Option<&Value>,
    field: &str,
    order: &Value,
    key: &str,
) -> Result<(), PatchError> {
    let order = as_list(order)?;
    let patch = match patch {
        Some(patch) => as_list(patch)?,
        None => &[],
    };
    check_order(patch, order, key)?;
    if let Some(Value::Array(list)) = object.get_mut(field) {
        let server_order = list.clone();
        *list = ordered(std::mem::take(list), order, &server_order, key);
    }
    Ok(())
}

/// `$deleteFromPrimitiveList/<field>`; null deletes the whole list, what else is no list nothing.
pub(super) fn remove_scalars(object: &mut Object, field: &str, scalars: &Value) -> Result<(), PatchError> {
    if scalars.is_null() {
        object.remove(field);
        return Ok(());
    }
    let (Some(Value::Array(list)), Value::Array(scalars)) = (object.get_mut(field), scalars) else {
        return Ok(());
    };
    of_objects(list, scalars)?;
    let scalars: HashSet<&Value> = scalars.iter().collect();
    list.retain(|v| !scalars.contains(v));
    Ok(())
}

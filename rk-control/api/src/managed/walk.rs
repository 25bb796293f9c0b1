//! Objects as sets of paths, and the difference of two objects.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::element::{self, is_blank};
use super::path::PathElement;
use super::set::{FieldSet, Node};
use crate::Object;
use crate::schema::{Lists, Schema, Shape};

/// The paths that an applied configuration owns: its leaves, its list elements and map entries, its empty objects.
///
/// # Errors
/// A list element without its keys, or two with the same, as a path and words.
pub(super) fn owned(value: &Value, schema: &Schema) -> Result<FieldSet, String> {
    Ok(owned_at(value, schema, "")?.below)
}

fn owned_at(value: &Value, schema: &Schema, path: &str) -> Result<Node, String> {
    let schema = &schema.formed(value);
    match (schema.shape(), value) {
        (Shape::Object | Shape::Map, Value::Object(object)) if !schema.is_atomic() => {
            owned_object(object, schema, path)
        }
        (Shape::List, Value::Array(items)) if schema.lists() != Lists::Atomic => {
            let mut node = Node::default();
            let item_schema = schema.item();
            for (index, item) in items.iter().enumerate() {
                let element = element::of(item, schema).map_err(|why| format!("{path}: element {index}: {why}"))?;
                if node.below.get(&element).is_some() {
                    return Err(format!("{path}: duplicate entries for key {element}"));
                }
                let mut below = owned_at(item, &item_schema, &format!("{path}{element}"))?;
                below.member = true;
                node.below.put(element, below);
            }
            Ok(node)
        }
        _ => Ok(Node::LEAF),
    }
}

fn owned_object(object: &Object, schema: &Schema, path: &str) -> Result<Node, String> {
    let mut node = Node::default();
    for (key, value) in object {
        let Some(field) = member(schema, key) else { continue };
        let mut below = owned_at(value, &field, &format!("{path}.{key}"))?;
        // Entries of maps and unknown fields that are kept count by themselves; so does an object that was given and is empty.
        below.member |= schema.shape() == Shape::Map
            || !schema.declares(key)
            || value.is_null()
            || value.as_object().is_some_and(Object::is_empty);
        node.below.put(PathElement::field(key), below);
    }
    Ok(node)
}

/// What changed from one object to another.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Comparison {
    /// Paths that are new or have another value.
    pub changed: FieldSet,
    /// Paths that are gone.
    pub removed: FieldSet,
}

impl Comparison {
    /// Drops the paths in or below a set.
    pub(super) fn ignore(&mut self, ignored: &FieldSet) {
        self.changed.subtract_below(ignored);
        self.removed.subtract_below(ignored);
    }
}

/// Compares two objects path by path.
pub(super) fn compare(old: &Value, new: &Value, schema: &Schema) -> Comparison {
    let nodes = compare_at(Some(old), Some(new), schema);
    Comparison { changed: nodes.changed.below, removed: nodes.removed.below }
}

#[derive(Default)]
struct Nodes {
    changed: Node,
    removed: Node,
}

impl Nodes {
    fn put(&mut self, element: PathElement, below: Nodes) {
        // Nearly always only one of the two has anything, so the element is rarely copied.
        if below.changed.is_empty() {
            self.removed.below.put(element, below.removed);
        } else {
            if !below.removed.is_empty() {
                self.removed.below.put(element.clone(), below.removed);
            }
            self.changed.below.put(element, below.changed);
        }
    }

    fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.removed.is_empty()
    }
}

fn compare_at(old: Option<&Value>, new: Option<&Value>, schema: &Schema) -> Nodes {
    let mut nodes = Nodes::default();
    if old == new {
        return nodes;
    }
    let schema = &schema.formed(new.or(old).unwrap_or(&Value::Null));
    if is_whole(old, new, schema) {
        match new {
            None => nodes.removed.member = true,
            Some(_) => nodes.changed.member = true,
        }
        return nodes;
    }
    match schema.shape() {
        Shape::List => compare_lists(old, new, schema, &mut nodes),
        _ => compare_objects(old, new, schema, &mut nodes),
    }
    if old.is_none() {
        nodes.changed.member = true;
    } else if new.is_none() {
        nodes.removed.member = true;
    }
    nodes
}

/// What is new or has another value in and below a value.
pub(super) fn changed(old: Option<&Value>, new: &Value, schema: &Schema) -> Node {
    compare_at(old, Some(new), schema).changed
}

/// Whether nothing below two values counts by itself: they are owned as a whole, say nothing, or are not what their schema says.
pub(super) fn is_whole(old: Option<&Value>, new: Option<&Value>, schema: &Schema) -> bool {
    let shape = schema.shape();
    let fits = |value: Option<&Value>| match value {
        None | Some(Value::Null) => true,
        Some(Value::Object(_)) => matches!(shape, Shape::Object | Shape::Map),
        Some(Value::Array(_)) => shape == Shape::List,
        Some(_) => false,
    };
    let blank = old.is_none_or(is_blank) && new.is_none_or(is_blank);
    let atomic = match shape {
        Shape::Object | Shape::Map => schema.is_atomic(),
        Shape::List => schema.lists() == Lists::Atomic,
        _ => true,
    };
    atomic || blank || !fits(old) || !fits(new)
}

/// The schema of a member of an object or map; `None` for one that does not count.
pub(super) fn member(schema: &Schema, name: &str) -> Option<Schema> {
    if schema.shape() == Shape::Map { Some(schema.item()) } else { schema.field(name) }
}

fn compare_objects(old: Option<&Value>, new: Option<&Value>, schema: &Schema, nodes: &mut Nodes) {
    let empty = Object::new();
    let old = old.and_then(Value::as_object).unwrap_or(&empty);
    let new = new.and_then(Value::as_object).unwrap_or(&empty);
    let only_old = old.keys().filter(|key| !new.contains_key(*key));
    for key in new.keys().chain(only_old) {
        let Some(field) = member(schema, key) else { continue };
        let below = compare_at(old.get(key), new.get(key), &field);
        if !below.is_empty() {
            nodes.put(PathElement::field(key), below);
        }
    }
}

fn compare_lists(old: Option<&Value>, new: Option<&Value>, schema: &Schema, nodes: &mut Nodes) {
    let (old, new) = (index(old, schema), index(new, schema));
    let (in_old, in_new) = (by_element(&old), by_element(&new));
    let item = schema.item();
    for (element, value) in &new {
        let before = in_old.get(element).copied();
        let mut below = compare_at(before, Some(value), &item);
        below.changed.member |= before.is_none();
        if !below.is_empty() {
            nodes.put(element.clone(), below);
        }
    }
    for (element, value) in &old {
        if !in_new.contains_key(element) {
            let mut below = compare_at(Some(value), None, &item);
            below.removed.member = true;
            nodes.put(element.clone(), below);
        }
    }
}

/// The elements of a list by what identifies them; what nothing identifies is left out, of equals the first counts.
pub(super) fn index<'a>(list: Option<&'a Value>, schema: &Schema) -> Vec<(PathElement, &'a Value)> {
    let mut out: Vec<(PathElement, &Value)> = Vec::new();
    let mut seen: BTreeSet<PathElement> = BTreeSet::new();
    for item in list.and_then(Value::as_array).into_iter().flatten() {
        if let Ok(element) = element::of(item, schema)
            && seen.insert(element.clone())
        {
            out.push((element, item));
        }
    }
    out
}

/// The values of indexed elements by what identifies them.
pub(super) fn by_element<'a>(list: &'a [(PathElement, &'a Value)]) -> BTreeMap<&'a PathElement, &'a Value> {
    list.iter().map(|(element, value)| (element, *value)).collect()
}

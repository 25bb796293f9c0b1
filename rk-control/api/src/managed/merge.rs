//! Merging a configuration into an object, and removing paths from one.

use std::collections::BTreeSet;

use serde_json::Value;

use super::element;
use super::path::PathElement;
use super::set::FieldSet;
use super::walk::{by_element, index};
use crate::Object;
use crate::schema::{Lists, Schema, Shape};

/// `live` with everything that `config` says.
pub(super) fn merge(live: &Value, config: &Value, schema: &Schema) -> Value {
    let schema = &schema.formed(config);
    match (schema.shape(), live, config) {
        (Shape::Object | Shape::Map, Value::Object(live), Value::Object(config)) if !schema.is_atomic() => {
            let mut out = live.clone();
            for (key, value) in config {
                let field =
                    if schema.shape() == Shape::Map { schema.item() } else { schema.field(key).unwrap_or(Schema::ANY) };
                let merged = live.get(key).map_or_else(|| value.clone(), |old| merge(old, value, &field));
                out.insert(key.clone(), merged);
            }
            Value::Object(out)
        }
        (Shape::List, Value::Array(_), Value::Array(_)) if schema.lists() != Lists::Atomic => {
            Value::Array(merge_lists(live, config, schema))
        }
        // A null says nothing of the members of what is there.
        (_, _, Value::Null) if has_members(live, schema) => live.clone(),
        _ => config.clone(),
    }
}

/// Whether there is anything in a value that is owned by itself.
fn has_members(value: &Value, schema: &Schema) -> bool {
    match (schema.shape(), value) {
        (Shape::Object | Shape::Map, Value::Object(object)) => !schema.is_atomic() && !object.is_empty(),
        (Shape::List, Value::Array(items)) => schema.lists() != Lists::Atomic && !items.is_empty(),
        _ => false,
    }
}

/// Elements of the configuration in its order, the others where they stood among those that both have.
fn merge_lists(live: &Value, config: &Value, schema: &Schema) -> Vec<Value> {
    let (left, right) = (index(Some(live), schema), index(Some(config), schema));
    let item = schema.item();
    let (in_left, in_right) = (by_element(&left), by_element(&right));
    let both = |element: &PathElement| match (in_left.get(element), in_right.get(element)) {
        (Some(old), Some(new)) => merge(old, new, &item),
        (old, new) => new.or(old).map(|value| (*value).clone()).unwrap_or_default(),
    };
    let mut shared = right.iter().map(|(e, _)| e).filter(|e| in_left.contains_key(*e)).peekable();
    let (mut out, mut taken): (Vec<Value>, BTreeSet<&PathElement>) = Default::default();
    let (mut l, mut r) = (left.iter().peekable(), right.iter().peekable());
    loop {
        match (l.peek(), r.peek()) {
            (None, None) => return out,
            (Some((a, _)), Some((b, _))) if a == b => {
                out.push(both(a));
                taken.insert(a);
                shared.next();
                l.next();
                r.next();
            }
            // Both lists have it, but the configuration wants another one first.
            (Some((a, _)), Some(_)) if in_right.contains_key(a) && shared.peek().is_some_and(|next| *next != a) => {
                l.next();
            }
            (Some((a, value)), _) if !in_right.contains_key(a) => {
                out.push((*value).clone());
                l.next();
            }
            (Some((a, _)), _) if taken.contains(a) => {
                l.next();
            }
            (_, Some((b, _))) => {
                out.push(both(b));
                taken.insert(b);
                if shared.peek().is_some_and(|next| *next == b) {
                    shared.next();
                }
                r.next();
            }
            (Some(_), None) => {
                l.next();
            }
        }
    }
}

/// `value` without the paths of a set; a path takes everything below it along. What loses all that was in it is null, as in kube-apiserver
/// v1.36.4, where it is left at all.
pub(super) fn remove(value: &Value, set: &FieldSet, schema: &Schema) -> Value {
    if set.is_empty() {
        return value.clone();
    }
    let schema = &schema.formed(value);
    match (schema.shape(), value) {
        (Shape::Object | Shape::Map, Value::Object(object)) if !schema.is_atomic() => {
            let mut out = Object::new();
            for (key, value) in object {
                let field =
                    if schema.shape() == Shape::Map { schema.item() } else { schema.field(key).unwrap_or(Schema::ANY) };
                match set.get(&PathElement::field(key)) {
                    Some(node) if node.member => {}
                    Some(node) => drop(out.insert(key.clone(), remove(value, &node.below, &field))),
                    None => drop(out.insert(key.clone(), value.clone())),
                }
            }
            if out.is_empty() { Value::Null } else { Value::Object(out) }
        }
        (Shape::List, Value::Array(items)) if schema.lists() != Lists::Atomic => {
            let item_schema = schema.item();
            let keep = |item: &Value| match element::of(item, schema).ok().and_then(|e| set.get(&e).cloned()) {
                Some(node) if node.member => None,
                Some(node) => Some(remove(item, &node.below, &item_schema)),
                None => Some(item.clone()),
            };
            let left: Vec<Value> = items.iter().filter_map(keep).collect();
            if left.is_empty() { Value::Null } else { Value::Array(left) }
        }
        _ => value.clone(),
    }
}

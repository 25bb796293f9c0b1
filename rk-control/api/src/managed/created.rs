//! What the creator of an object owns, written as `fieldsV1` while the object is walked.
//!
//! The rules are those of [`walk::compare`] against a blank object, less what nobody owns; no sets of paths are made of it.

use serde_json::Value;

use super::update::UNOWNED_METADATA;
use super::{element, walk};
use crate::Object;
use crate::schema::{Schema, Shape};

/// A path of `fieldsV1`: whether it is owned itself, and what is owned below it.
#[derive(Default)]
struct Place {
    member: bool,
    below: Object,
}

impl Place {
    fn is_empty(&self) -> bool {
        !self.member && self.below.is_empty()
    }

    fn into_value(mut self) -> Value {
        if self.member && !self.below.is_empty() {
            self.below.insert(".".to_owned(), Value::Object(Object::new()));
        }
        Value::Object(self.below)
    }
}

/// All that `new` has beyond `blank`, but for the part that is not tracked.
pub(super) fn fields(blank: &Value, new: &Value, schema: &Schema, untracked: Option<&str>) -> Object {
    let schema = &schema.formed(new);
    let mut out = Object::new();
    let Some(members) = new.as_object().filter(|_| !walk::is_whole(Some(blank), Some(new), schema)) else { return out };
    for (name, value) in members.iter().filter(|(name, _)| untracked != Some(name.as_str())) {
        let disowned: &[&str] = if name == "metadata" { &UNOWNED_METADATA } else { &[] };
        let Some(field) = walk::member(schema, name) else { continue };
        let mut place = place_at(blank.get(name), value, &field, disowned);
        place.member &= !matches!(name.as_str(), "apiVersion" | "kind" | "metadata");
        put(&mut out, name, place);
    }
    out
}

/// What is owned of a value; members in `disowned` are not, but what is below them.
fn place_at(old: Option<&Value>, new: &Value, schema: &Schema, disowned: &[&str]) -> Place {
    if old == Some(new) {
        return Place::default();
    }
    let schema = &schema.formed(new);
    if walk::is_whole(old, Some(new), schema) {
        return Place { member: true, below: Object::new() };
    }
    let below = match (schema.shape(), new) {
        (Shape::List, Value::Array(items)) if old.is_none_or(element::is_blank) => elements(items, schema),
        (Shape::List, _) => return compared(old, new, schema),
        (_, Value::Object(members)) => {
            let mut below = Object::new();
            for (name, value) in members {
                let Some(field) = walk::member(schema, name) else { continue };
                let mut place = place_at(old.and_then(|old| old.get(name)), value, &field, &[]);
                place.member &= !disowned.contains(&name.as_str());
                put(&mut below, name, place);
            }
            below
        }
        _ => Object::new(),
    };
    Place { member: old.is_none(), below }
}

fn put(into: &mut Object, name: &str, place: Place) {
    if !place.is_empty() {
        let mut key = String::with_capacity(name.len() + 2);
        key.push_str("f:");
        key.push_str(name);
        into.insert(key, place.into_value());
    }
}

/// The elements of a list that is new; what nothing identifies is left out, of equals the first counts.
fn elements(items: &[Value], schema: &Schema) -> Object {
    let mut out = Object::new();
    let item = schema.item();
    for value in items {
        let Ok(element) = element::of(value, schema) else { continue };
        let key = element.into_string();
        if !out.contains_key(&key) {
            let place = Place { member: true, ..place_at(None, value, &item, &[]) };
            out.insert(key, place.into_value());
        }
    }
    out
}

/// A list where the blank object has one too, which no built-in kind does.
fn compared(old: Option<&Value>, new: &Value, schema: &Schema) -> Place {
    let node = walk::changed(old, new, schema);
    match node.below.into_value() {
        Value::Object(below) => Place { member: node.member, below },
        _ => Place { member: node.member, below: Object::new() },
    }
}

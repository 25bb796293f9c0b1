//! What a custom object was before a change, place by place.

use std::collections::HashMap;

use serde_json::Value;

use super::rules::text;

/// The elements of a keyed list as it was, by their keys.
pub struct Elements<'a> {
    keys: Vec<&'a str>,
    known: HashMap<String, &'a Value>,
}

impl<'a> Elements<'a> {
    /// Of a list of this schema; `None` where its elements are known by nothing but the place that they have.
    #[must_use]
    pub fn of(schema: &'a Value, list: &'a Value) -> Option<Self> {
        if text(schema, "x-kubernetes-list-type") != "map" {
            return None;
        }
        let keys: Vec<&str> =
            schema.get("x-kubernetes-list-map-keys")?.as_array()?.iter().filter_map(Value::as_str).collect();
        let mut known = HashMap::new();
        for item in list.as_array()? {
            known.entry(identity(item, &keys)).or_insert(item);
        }
        Some(Self { keys, known })
    }

    /// The one that has the keys of an element of today.
    #[must_use]
    pub fn get(&self, item: &Value) -> Option<&'a Value> {
        self.known.get(&identity(item, &self.keys)).copied()
    }
}

fn identity(item: &Value, keys: &[&str]) -> String {
    let values: Value = keys.iter().map(|key| item.get(*key).cloned().unwrap_or_default()).collect();
    values.to_string()
}

/// Whether a value is as it was (`old`); keyed lists of its schema are so in any order.
#[must_use]
pub fn is_unchanged(schema: &Value, old: &Value, now: &Value) -> bool {
    Before { value: old, schema }.is(now)
}

/// A value as it was, with the schema of its place.
#[derive(Clone, Copy)]
pub(super) struct Before<'a> {
    pub value: &'a Value,
    pub schema: &'a Value,
}

impl<'a> Before<'a> {
    /// Whether a value is as it was; keyed lists are so in any order.
    pub fn is(self, now: &Value) -> bool {
        match (self.value, now) {
            (Value::Array(old), Value::Array(new)) if old.len() == new.len() && old != new => {
                let (Some(all), Some(today)) = (self.elements(), Elements::of(self.schema, now)) else { return false };
                // Equal elements of today are not what was there.
                let same = |item: &Value| self.element(&all, item).is_some_and(|old| old.is(item));
                today.known.len() == new.len() && new.iter().all(same)
            }
            (Value::Object(old), Value::Object(new)) => {
                let same = |(name, field): (&String, &Value)| self.field(name).is_some_and(|old| old.is(field));
                old.len() == new.len() && new.iter().all(same)
            }
            (old, new) => old == new,
        }
    }

    /// A field of an object, if it was there.
    pub fn field(self, name: &str) -> Option<Self> {
        let own = self.schema.get("properties").and_then(|properties| properties.get(name));
        let schema = own.or_else(|| self.schema.get("additionalProperties")).unwrap_or(&Value::Null);
        self.value.get(name).map(|value| Self { value, schema })
    }

    /// The elements of a keyed list.
    pub fn elements(self) -> Option<Elements<'a>> {
        Elements::of(self.schema, self.value)
    }

    /// The one of them that an element of today was.
    pub fn element(self, all: &Elements<'a>, item: &Value) -> Option<Self> {
        let schema = self.schema.get("items").unwrap_or(&Value::Null);
        all.get(item).map(|value| Self { value, schema })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keyed_lists_are_the_same_in_any_order_and_other_lists_are_not() {
        let keyed = json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["key"],
            "items": {"type": "object"}});
        let schema = json!({"properties": {"keyed": keyed}, "additionalProperties": {"type": "array"}});
        let one = |number: i32| json!({"key": "one", "number": number});
        let two = json!({"key": "two"});
        let old = json!({"keyed": [one(1), two], "list": [1, 2]});
        let before = Before { value: &old, schema: &schema };
        for (now, expected) in [
            (old.clone(), true),
            (json!({"keyed": [two, one(1)], "list": [1, 2]}), true),
            (json!({"keyed": [two, one(2)], "list": [1, 2]}), false),
            (json!({"keyed": [two, two], "list": [1, 2]}), false),
            (json!({"keyed": [two], "list": [1, 2]}), false),
            (json!({"keyed": [one(1), two], "list": [2, 1]}), false),
            (json!({"keyed": [one(1), two], "other": [1, 2]}), false),
            (json!({"keyed": [one(1), two], "list": [1, 2], "other": null}), false),
            (Value::Null, false),
        ] {
            assert_eq!(before.is(&now), expected, "{now}");
        }
    }

    #[test]
    fn elements_are_found_by_all_of_their_keys() {
        let schema = json!({"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a", "b"]});
        let list = json!([{"a": 1, "b": "x", "first": true}, {"a": 1}, {"a": 1, "b": "x"}]);
        let all = Elements::of(&schema, &list).unwrap();
        assert_eq!(all.get(&json!({"a": 1, "b": "x", "other": 2})), Some(&list[0]), "the first of equal ones");
        assert_eq!(all.get(&json!({"a": 1})), Some(&list[1]));
        assert_eq!(all.get(&json!({"a": 2, "b": "x"})), None);
        assert!(Elements::of(&json!({"x-kubernetes-list-type": "set"}), &list).is_none());
        assert!(Elements::of(&schema, &Value::Null).is_none(), "it was no list");
    }
}

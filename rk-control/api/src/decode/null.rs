//! Nulls that are no values.

use serde_json::Value;

use crate::Object;
use crate::schema::{Schema, Shape};

/// Takes a null body for an object of a fixed type that says nothing, as Go's decoder does.
pub(super) fn say_nothing(body: &mut Value, schema: &Schema) {
    if body.is_null() && schema.is_fixed() {
        *body = Value::Object(Object::new());
    }
}

/// Drops the nulls in an object of a kind made at run time where neither null is a value nor a default stands for it: they say
/// nothing (kube-apiserver v1.36). Elements of lists stay, and what is of a built-in type or none.
pub(super) fn drop_nulls(value: &mut Value, schema: &Schema) {
    if schema.as_made().is_none() {
        return;
    }
    match value {
        Value::Object(object) => {
            let of = |key: &str| if schema.shape() == Shape::Map { Some(schema.item()) } else { schema.field(key) };
            object.retain(|key, entry| !entry.is_null() || of(key).is_none_or(|field| may_be_null(&field)));
            for (key, entry) in object.iter_mut() {
                if let Some(field) = of(key) {
                    drop_nulls(entry, &field);
                }
            }
        }
        Value::Array(items) => {
            let item = schema.item();
            items.iter_mut().for_each(|entry| drop_nulls(entry, &item));
        }
        _ => {}
    }
}

fn may_be_null(field: &Schema) -> bool {
    field.as_made().is_none_or(|node| node.nullable || node.default.is_some())
}

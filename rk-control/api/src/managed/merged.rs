//! Merging by the rules of server-side apply without anybody owning anything: what admission policies apply.

use serde_json::Value;

use super::merge::merge;
use super::walk::owned;
use crate::schema::{Lists, Schema, Shape};

/// `live` with everything that `config` says; `config` is fitted as [`crate::decode::Form::AsGiven`].
///
/// # Errors
/// Elements of lists without keys or with equal ones; anything that is only ever owned as a whole.
pub fn merged(live: &Value, config: &Value, schema: &Schema) -> Result<Value, String> {
    owned(config, schema)?;
    match atomic(config, schema, "") {
        Some(place) => Err(format!("may not mutate atomic arrays, maps or structs: {place}")),
        None => Ok(merge(live, config, schema)),
    }
}

/// The first place that is owned as a whole.
fn atomic(config: &Value, schema: &Schema, path: &str) -> Option<String> {
    let schema = &schema.formed(config);
    match (schema.shape(), config) {
        (Shape::Object | Shape::Map, Value::Object(_)) if schema.is_atomic() => Some(path.to_owned()),
        (shape @ (Shape::Object | Shape::Map), Value::Object(members)) => members.iter().find_map(|(name, value)| {
            let field = if shape == Shape::Map { schema.item() } else { schema.field(name)? };
            atomic(value, &field, &format!("{path}.{name}"))
        }),
        (Shape::List, Value::Array(_)) if schema.lists() == Lists::Atomic => Some(path.to_owned()),
        (Shape::List, Value::Array(items)) => {
            let item = schema.item();
            items.iter().enumerate().find_map(|(index, value)| atomic(value, &item, &format!("{path}[{index}]")))
        }
        _ => None,
    }
}

//! What published schemas tell of fields beside their types: `tables/values.txt`.

use rk_api::schema::{Schema, Shape};
use serde_json::{Value, json};

/// The rows of the table.
pub struct Values(Vec<Row>);

struct Row {
    owner: &'static str,
    field: &'static str,
    fact: &'static str,
    value: Value,
}

impl Values {
    /// Reads the table; panics name the line at fault, which fails the build.
    pub fn read() -> Self {
        let lines = include_str!("../tables/values.txt").lines();
        Self(lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(row).collect())
    }

    fn of(&self, owner: &str, field: &str, fact: &str) -> Option<&Value> {
        let found = self.0.iter().find(|row| row.owner == owner && row.field == field && row.fact == fact);
        found.map(|row| &row.value)
    }

    /// What an absent field of a type stands for, as documents of version 3 tell.
    pub fn default_of(&self, owner: &str, field: &str, place: &Schema) -> Option<Value> {
        let untold = || match place.shape() {
            _ if place.is_pointer() => None,
            shape if shape == Shape::Object || place.is_written() => zero(shape),
            _ => None,
        };
        match self.of(owner, field, "default") {
            Some(told) => Some(told.clone()).filter(|told| !told.is_null()),
            None => untold(),
        }
    }

    /// The words that a field, or each element of its list or map, may be.
    pub fn words(&self, owner: &str, field: &str) -> Option<&Value> {
        self.of(owner, field, "enum")
    }

    /// Which fields of a type go with which word of another.
    pub fn unions(&self, owner: &str) -> Option<&Value> {
        self.of(owner, "-", "unions")
    }
}

fn row(line: &'static str) -> Row {
    let mut words = line.splitn(4, ' ');
    let [Some(owner), Some(field), Some(fact), Some(json)] = [words.next(), words.next(), words.next(), words.next()]
    else {
        panic!("values.txt: {line}")
    };
    let value = serde_json::from_str(json).unwrap_or_else(|error| panic!("values.txt: {line}: {error}"));
    Row { owner, field, fact, value }
}

/// How the zero value of what cannot be absent is written; none where it is null.
pub fn zero(shape: Shape) -> Option<Value> {
    match shape {
        Shape::Object => Some(json!({})),
        Shape::String => Some(json!("")),
        Shape::Bool => Some(json!(false)),
        Shape::Int32 | Shape::Int64 | Shape::Double => Some(json!(0)),
        _ => None,
    }
}

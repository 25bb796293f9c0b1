//! Columns: how a cell is named, typed and filled.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::age::since;
use crate::meta;

/// What a cell is made from.
pub(super) struct Context<'a> {
    pub(super) object: &'a Value,
    pub(super) now: Timestamp,
}

impl<'a> Context<'a> {
    /// The value at a path of field names, or null.
    pub(super) fn at(&self, path: &[&str]) -> &'a Value {
        meta::at(self.object, path)
    }

    /// The text at a path, or the empty string.
    pub(super) fn text(&self, path: &[&str]) -> &'a str {
        meta::text(self.object, path)
    }

    /// The integer at a path, or 0.
    pub(super) fn number(&self, path: &[&str]) -> i64 {
        self.at(path).as_i64().unwrap_or(0)
    }

    /// The list at a path, or nothing.
    pub(super) fn list(&self, path: &[&str]) -> &'a [Value] {
        meta::list(self.object, path)
    }

    /// How long ago the time at a path was.
    pub(super) fn age(&self, path: &[&str]) -> String {
        since(self.text(path), self.now)
    }
}

/// A column.
pub(super) struct Column {
    name: &'static str,
    kind: &'static str,
    format: &'static str,
    /// 0 shows always, 1 with `-o wide`.
    priority: u8,
    description: &'static str,
    fill: fn(&Context<'_>) -> Value,
}

impl Column {
    /// A text column that always shows.
    pub(super) const fn new(name: &'static str, description: &'static str, fill: fn(&Context<'_>) -> Value) -> Self {
        Self { name, kind: "string", format: "", priority: 0, description, fill }
    }

    /// A text column that shows with `-o wide`.
    pub(super) const fn wide(name: &'static str, description: &'static str, fill: fn(&Context<'_>) -> Value) -> Self {
        Self { priority: 1, ..Self::new(name, description, fill) }
    }

    /// The same column for integers.
    pub(super) const fn integer(self) -> Self {
        Self { kind: "integer", ..self }
    }

    /// The same column for yes and no.
    pub(super) const fn boolean(self) -> Self {
        Self { kind: "boolean", ..self }
    }

    /// The same column for the object's name: clients put the kind before it when they are asked for several.
    pub(super) const fn naming(self) -> Self {
        Self { format: "name", ..self }
    }

    pub(super) fn definition(&self) -> Value {
        json!({
            "name": self.name,
            "type": self.kind,
            "format": self.format,
            "description": self.description,
            "priority": self.priority,
        })
    }

    pub(super) fn cell(&self, context: &Context<'_>) -> Value {
        (self.fill)(context)
    }
}

/// The object's name: every table's first column.
pub(super) const NAME: Column =
    Column::new("Name", "The name of the object, unique within its namespace and kind.", |c| {
        c.text(&["metadata", "name"]).into()
    })
    .naming();

/// How long ago the object was created.
pub(super) const AGE: Column =
    Column::new("Age", "How long ago the object was created.", |c| c.age(&["metadata", "creationTimestamp"]).into());

/// When the object was created.
pub(super) const CREATED_AT: Column = Column {
    kind: "date",
    ..Column::new("Created At", "When the object was created.", |c| c.at(&["metadata", "creationTimestamp"]).clone())
};

/// Kinds of which nothing but their age is shown.
pub(super) const AGED: &[Column] = &[NAME, AGE];

/// Kinds of which nothing special is shown.
pub(super) const PLAIN: &[Column] = &[NAME, CREATED_AT];

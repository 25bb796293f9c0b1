//! How large the values of a schema may be, at most (upstream's `SchemaDeclType`).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;

use crate::schema::embedded;

/// Largest body of a request, in bytes; upstream's figure.
const REQUEST: u64 = 3 << 20;
/// Deepest schema that is looked at.
const MAX_DEPTH: usize = 64;

/// What is known of the size of a value.
#[derive(Debug, Clone)]
pub struct Shape {
    pub(super) form: Form,
    /// Most characters, elements or entries.
    pub(super) size: u64,
    /// Fewest bytes in JSON.
    least: u64,
}

/// What a value is made of.
#[derive(Debug, Clone)]
pub(super) enum Form {
    /// A value of one size.
    Scalar,
    /// Text or bytes.
    Text,
    List(Arc<Shape>),
    /// Values by names that may be any.
    Map(Arc<Shape>),
    Object(BTreeMap<String, Arc<Shape>>),
    /// Anything.
    Open,
}

impl Shape {
    /// Of a schema, that of the root of an object with the names that every object has.
    #[must_use]
    pub fn of(schema: &Json) -> Self {
        of(schema, 0)
    }

    /// What lies in a field.
    #[must_use]
    pub fn field(&self, name: &str) -> Arc<Shape> {
        match &self.form {
            Form::Object(fields) => fields.get(name).cloned().unwrap_or_else(Shape::open),
            Form::Map(value) => Arc::clone(value),
            _ => Shape::open(),
        }
    }

    /// What the elements of a list or the values of a map are.
    #[must_use]
    pub fn inner(&self) -> Arc<Shape> {
        match &self.form {
            Form::List(inner) | Form::Map(inner) => Arc::clone(inner),
            _ => Shape::open(),
        }
    }

    /// How many values like this one request can hold.
    #[must_use]
    pub fn most(&self) -> u64 {
        REQUEST / (self.least + 1)
    }

    pub(super) fn new(form: Form, size: u64) -> Arc<Shape> {
        Arc::new(Shape { form, size, least: 1 })
    }

    pub(super) fn open() -> Arc<Shape> {
        Shape::new(Form::Open, u64::MAX)
    }

    pub(super) fn scalar() -> Arc<Shape> {
        Shape::new(Form::Scalar, 1)
    }

    pub(super) fn text(size: u64) -> Arc<Shape> {
        Shape::new(Form::Text, size)
    }

    pub(super) fn is_scalar(&self) -> bool {
        matches!(self.form, Form::Scalar)
    }

    pub(super) fn is_list(&self) -> bool {
        matches!(self.form, Form::List(_))
    }
}

fn flag(schema: &Json, name: &str) -> bool {
    schema.get(name) == Some(&Json::Bool(true))
}

fn number(schema: &Json, name: &str) -> Option<u64> {
    let written = schema.get(name)?;
    // What is below nothing is nothing.
    written.as_u64().or_else(|| written.as_i64().map(|_| 0))
}

fn of(schema: &Json, depth: usize) -> Shape {
    let shape = |form, size, least| Shape { form, size, least };
    let word = |key: &str| schema.get(key).and_then(Json::as_str).unwrap_or_default();
    if depth > MAX_DEPTH {
        return shape(Form::Open, u64::MAX, 1);
    }
    // A letter may take four bytes.
    let letters = number(schema, "maxLength").map(|max| max.saturating_mul(4));
    if flag(schema, "x-kubernetes-int-or-string") {
        return shape(Form::Open, letters.unwrap_or(REQUEST - 2), 1);
    }
    match word("type") {
        "array" => {
            let item = schema.get("items").map_or_else(|| shape(Form::Open, u64::MAX, 1), |items| of(items, depth + 1));
            let size = number(schema, "maxItems").unwrap_or((REQUEST - 2) / (item.least + 1));
            shape(Form::List(Arc::new(item)), size, 2)
        }
        "object" => object(schema, depth),
        "string" => match word("format") {
            "byte" => shape(Form::Text, number(schema, "maxLength").unwrap_or(REQUEST - 2), 2),
            "duration" => shape(Form::Scalar, 32, 4),
            "date" => shape(Form::Scalar, 12, 12),
            "date-time" => shape(Form::Scalar, 31, 22),
            _ => shape(Form::Text, letters.or_else(|| longest(schema)).unwrap_or(REQUEST - 2), 2),
        },
        "boolean" => shape(Form::Scalar, 0, 4),
        "number" | "integer" => shape(Form::Scalar, 0, 1),
        _ => shape(Form::Open, u64::MAX, 1),
    }
}

/// The longest of the texts that a value may be.
fn longest(schema: &Json) -> Option<u64> {
    let texts = schema.get("enum")?.as_array()?.iter().filter_map(Json::as_str);
    texts.map(|text| u64::try_from(text.len()).unwrap_or(u64::MAX)).max()
}

fn object(schema: &Json, depth: usize) -> Shape {
    if let Some(values @ Json::Object(_)) = schema.get("additionalProperties") {
        let value = of(values, depth + 1);
        // A name of two letters with what stands around it.
        let size = number(schema, "maxProperties").unwrap_or((REQUEST - 2) / (value.least + 6));
        return Shape { form: Form::Map(Arc::new(value)), size, least: 2 };
    }
    let schema = &embedded(schema);
    let Some(properties) = schema.get("properties").and_then(Json::as_object) else {
        return Shape { form: Form::Object(BTreeMap::new()), size: 0, least: 2 };
    };
    let required: Vec<&str> =
        schema.get("required").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str).collect();
    let mut fields: BTreeMap<String, Arc<Shape>> = BTreeMap::new();
    let mut least = 2;
    for (name, property) in properties {
        fields.insert(name.clone(), Arc::new(of(property, depth + 1)));
    }
    // What has a default need not be sent.
    for name in
        required.into_iter().filter(|name| properties.get(*name).is_some_and(|own| own.get("default").is_none()))
    {
        let length = u64::try_from(name.len()).unwrap_or(u64::MAX);
        least += length + fields.get(name).map_or(0, |field| field.least) + 4;
    }
    Shape { form: Form::Object(fields), size: 0, least }
}

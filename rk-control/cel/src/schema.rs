//! Types of objects: those of built-in kinds, and those that an OpenAPI schema describes.

use std::sync::Arc;

use rk_api::resources::GroupVersionKind;
use rk_api::schema::{Schema, Shape};
use serde_json::{Value as Json, json};

use crate::eval::without_escapes;
use crate::types::{Record, Type};

/// The type of a built-in kind; `None` when there is no such kind.
#[must_use]
pub fn of_kind(gvk: &GroupVersionKind) -> Option<Type> {
    Schema::of_kind(gvk).map(|schema| built_in(&schema))
}

struct BuiltIn {
    name: String,
    schema: Schema,
}

impl Record for BuiltIn {
    fn name(&self) -> &str {
        &self.name
    }

    fn field(&self, name: &str) -> Option<Type> {
        self.schema.field(&without_escapes(name)).map(|field| built_in(&field))
    }
}

fn built_in(schema: &Schema) -> Type {
    match schema.shape() {
        Shape::Object => {
            let name = schema.type_name().replace('/', ".");
            Type::Record(Arc::new(BuiltIn { name, schema: schema.clone() }))
        }
        Shape::Map => Type::map(Type::String, built_in(&schema.item())),
        Shape::List => Type::list(built_in(&schema.item())),
        Shape::String => Type::String,
        Shape::Bytes => Type::Bytes,
        Shape::Bool => Type::Bool,
        Shape::Int32 | Shape::Int64 => Type::Int,
        Shape::Double => Type::Double,
        Shape::Time | Shape::MicroTime => Type::Timestamp,
        Shape::Quantity | Shape::IntOrString | Shape::Any => Type::Dyn,
    }
}

struct Described {
    name: String,
    schema: Json,
}

impl Record for Described {
    fn name(&self) -> &str {
        &self.name
    }

    fn field(&self, name: &str) -> Option<Type> {
        let name = without_escapes(name);
        let field = self.schema.get("properties")?.get(&*name)?;
        let ty = of_openapi(field, &format!("{}.{name}", self.name));
        // What a schema leaves open cannot be referred to.
        (!ty.is_dyn() || flag(field, "x-kubernetes-int-or-string") || is_open(field)).then_some(ty)
    }
}

fn flag(schema: &Json, name: &str) -> bool {
    schema.get(name) == Some(&Json::Bool(true))
}

fn is_open(schema: &Json) -> bool {
    flag(schema, "x-kubernetes-preserve-unknown-fields")
}

/// The type of a place in an OpenAPI schema. `name` tells record types apart.
#[must_use]
pub fn of_openapi(schema: &Json, name: &str) -> Type {
    let word = |key: &str| schema.get(key).and_then(Json::as_str).unwrap_or_default();
    if flag(schema, "x-kubernetes-int-or-string") {
        return Type::Dyn;
    }
    match word("type") {
        "object" => match schema.get("additionalProperties") {
            Some(values @ Json::Object(_)) => Type::map(Type::String, of_openapi(values, &format!("{name}.@elem"))),
            // What is kept without being described has no names that could be referred to.
            _ => Type::Record(Arc::new(Described { name: name.to_owned(), schema: embedded(schema) })),
        },
        "array" => {
            Type::list(schema.get("items").map_or(Type::Dyn, |items| of_openapi(items, &format!("{name}.@idx"))))
        }
        "string" => match word("format") {
            "byte" => Type::Bytes,
            "duration" => Type::Duration,
            "date" | "date-time" => Type::Timestamp,
            _ => Type::String,
        },
        "boolean" => Type::Bool,
        "number" => Type::Double,
        "integer" => Type::Int,
        _ => Type::Dyn,
    }
}

/// Embedded objects have the names of every object.
pub(crate) fn embedded(schema: &Json) -> Json {
    let mut schema = schema.clone();
    if flag(&schema, "x-kubernetes-embedded-resource")
        && let Some(object) = schema.as_object_mut()
    {
        let properties = object.entry("properties").or_insert_with(|| json!({}));
        for (name, ty) in identity() {
            if let Some(properties) = properties.as_object_mut() {
                properties.insert(name.to_owned(), ty);
            }
        }
    }
    schema
}

/// What every root object has, whatever its schema says.
fn identity() -> [(&'static str, Json); 3] {
    let text = || json!({"type": "string"});
    let metadata = json!({"type": "object", "properties": {"name": text(), "generateName": text()}});
    [("apiVersion", text()), ("kind", text()), ("metadata", metadata)]
}

/// The type of `metadata` of every object.
#[must_use]
pub fn metadata() -> Type {
    Schema::named("meta/v1.ObjectMeta").map_or(Type::Dyn, |schema| built_in(&schema))
}

/// A schema of the root of an object, with the names that every object has.
#[must_use]
pub fn with_identity(schema: &Json) -> Json {
    let mut schema = schema.clone();
    if let Some(object) = schema.as_object_mut() {
        object.insert("x-kubernetes-embedded-resource".to_owned(), Json::Bool(true));
    }
    embedded(&schema)
}

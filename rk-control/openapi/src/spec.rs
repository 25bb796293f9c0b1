//! The two versions of the specification, and what paths need to know of types.

use rk_api::resources::{GroupVersionKind, Resource};
use serde_json::{Value, json};

/// Gives kinds their names in a document.
pub trait Kinds {
    /// Adds a kind and all that it reaches; answers its name.
    fn kind(&mut self, gvk: &GroupVersionKind) -> Option<String>;
    /// Adds the list of a resource's kind; answers its name.
    fn list(&mut self, resource: &Resource) -> Option<String>;
}

/// The version of the OpenAPI specification; it decides how types refer to each other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Spec {
    V2,
    V3,
}

impl Spec {
    /// A reference to a named schema.
    pub fn reference(self, name: &str) -> Value {
        match self {
            Self::V2 => json!({"$ref": format!("#/definitions/{name}")}),
            Self::V3 => json!({"$ref": format!("#/components/schemas/{name}")}),
        }
    }

    /// A schema as it may stand in a document: in v3 a reference must stand alone, so what is told beside it wraps it.
    pub fn alone(self, value: Value) -> Value {
        match (self, value) {
            (Self::V3, Value::Object(mut members)) if members.len() > 1 => {
                if let Some(reference) = members.remove("$ref") {
                    members.insert("allOf".into(), json!([{ "$ref": reference }]));
                }
                members.into()
            }
            (_, value) => value,
        }
    }
}

/// The extension that names a kind.
pub fn gvk_value(gvk: &GroupVersionKind) -> Value {
    json!({"group": gvk.group, "version": gvk.version, "kind": gvk.kind})
}

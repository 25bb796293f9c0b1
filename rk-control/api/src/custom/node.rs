//! The schema of a custom kind as a tree for generic code.

use serde_json::Value;

use crate::schema::{Lists, Made, Schema, Shape, Takes};

/// The extension by which a place keeps what it does not know.
pub(super) const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";
/// The extension by which a place holds a whole object with metadata of its own.
pub(super) const EMBEDDED: &str = "x-kubernetes-embedded-resource";
pub(super) const INT_OR_STRING: &str = "x-kubernetes-int-or-string";

/// Whether a schema has a flag set.
pub(super) fn flag(schema: &Value, name: &str) -> bool {
    schema.get(name).and_then(Value::as_bool).unwrap_or(false)
}

/// The tree for a whole object.
pub(super) fn root(schema: &Value) -> Schema {
    let mut node = made(schema);
    node.shape = Shape::Object;
    node.takes = Takes::Members;
    add_object_fields(&mut node);
    Schema::made(node)
}

/// What every object has besides its own fields.
fn add_object_fields(node: &mut Made) {
    for name in ["apiVersion", "kind"] {
        let mut text = Made::new(Shape::Any);
        text.takes = Takes::Text;
        node.fields.insert(name.into(), Schema::made(text));
    }
    if let Some(metadata) = Schema::named("meta/v1.ObjectMeta") {
        node.fields.insert("metadata".into(), metadata);
    }
}

fn made(schema: &Value) -> Made {
    let text = |name: &str| schema.get(name).and_then(Value::as_str).unwrap_or_default();
    let inner = |name: &str| schema.get(name).filter(|inner| inner.is_object()).map(|inner| Schema::made(made(inner)));
    let mut node = Made::new(Shape::Any);
    node.nullable = flag(schema, "nullable");
    node.default = schema.get("default").cloned();
    node.takes = match (text("type"), text("format")) {
        ("object", _) => Takes::Members,
        ("array", _) => Takes::Elements,
        ("integer" | "number", _) => Takes::Number,
        ("boolean", _) => Takes::Truth,
        ("string", "" | "byte") => Takes::Text,
        ("string", _) => Takes::Scalar,
        _ => Takes::Anything,
    };
    match text("type") {
        "array" => {
            node.shape = Shape::List;
            node.item = inner("items");
            node.lists = match text("x-kubernetes-list-type") {
                "set" => Lists::Set,
                "map" => Lists::Map,
                _ => Lists::Atomic,
            };
            let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
            node.keys = keys.into_iter().flatten().filter_map(Value::as_str).map(Into::into).collect();
        }
        "object" => object(schema, &mut node),
        // Nothing is said of the type: what comes is kept when it may be anything.
        _ if flag(schema, PRESERVE) && !flag(schema, INT_OR_STRING) => object(schema, &mut node),
        _ => {}
    }
    node
}

fn object(schema: &Value, node: &mut Made) {
    node.atomic = schema.get("x-kubernetes-map-type").and_then(Value::as_str) == Some("atomic");
    let values = schema.get("additionalProperties").filter(|values| values.is_object());
    if let Some(values) = values {
        node.shape = Shape::Map;
        node.item = Some(Schema::made(made(values)));
        return;
    }
    node.shape = Shape::Object;
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, property) in properties.into_iter().flatten() {
        node.fields.insert(name.as_str().into(), Schema::made(made(property)));
    }
    node.open = flag(schema, PRESERVE) || flag(schema, "additionalProperties");
    if flag(schema, EMBEDDED) {
        add_object_fields(node);
    }
}

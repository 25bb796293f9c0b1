//! Schemas of custom kinds: what they may say, and that they say of every place what stands there ("structural").

use serde_json::{Value, json};

use super::super::get::{empty, entries, field, flag, list, one_of, text};
use super::field_path::follow;
use super::topology::{self, LIST_KEYS, LIST_TYPE, MAP_TYPE};
use super::{completeness, defaults};
use crate::meta::at;
use crate::pattern::{self, PatternError};
use crate::status::{FieldErrors, Path};

/// Deepest schema that is looked at.
pub(super) const MAX_DEPTH: usize = 64;
pub(super) const OPEN: &str = "x-kubernetes-preserve-unknown-fields";
const EITHER: &str = "x-kubernetes-int-or-string";
pub(super) const EMBEDDED: &str = "x-kubernetes-embedded-resource";
const RULES: &str = "x-kubernetes-validations";
/// The reasons that a broken rule may be reported with.
const REASONS: [&str; 4] = ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];

/// What a schema may say at its root when the status is a subresource, as upstream names and as JSON names it.
const AT_ROOT: [(&str, &str); 22] = [
    ("Description", "description"),
    ("Type", "type"),
    ("Format", "format"),
    ("Title", "title"),
    ("Maximum", "maximum"),
    ("ExclusiveMaximum", "exclusiveMaximum"),
    ("Minimum", "minimum"),
    ("ExclusiveMinimum", "exclusiveMinimum"),
    ("MaxLength", "maxLength"),
    ("MinLength", "minLength"),
    ("Pattern", "pattern"),
    ("MaxItems", "maxItems"),
    ("MinItems", "minItems"),
    ("UniqueItems", "uniqueItems"),
    ("MultipleOf", "multipleOf"),
    ("Required", "required"),
    ("Items", "items"),
    ("Properties", "properties"),
    ("ExternalDocs", "externalDocs"),
    ("Example", "example"),
    ("XPreserveUnknownFields", OPEN),
    ("XValidations", RULES),
];

/// Where in a schema.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// The schema of a version; `status`: whether the status is a subresource.
pub(super) fn root(schema: &Value, status: bool, path: &Path<'_>, errors: &mut FieldErrors) {
    let before = errors.0.len();
    let allowed = |key: &str| AT_ROOT.iter().any(|(_, own)| *own == key);
    if status {
        let kind = text(schema, "type");
        if !kind.is_empty() && kind != "object" {
            let why =
                "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
            errors.invalid(&path.child("type"), kind, why);
        }
        let said = schema.as_object().into_iter().flatten();
        if said.filter(|(_, value)| !is_zero(value)).any(|(key, _)| !allowed(key)) {
            let names: Vec<&str> = AT_ROOT.iter().map(|(name, _)| *name).collect();
            let why = format!(
                "only [{}] fields are allowed at the root of the schema if the status subresource is enabled",
                names.join(" ")
            );
            errors.invalid(path, schema.clone(), why);
        }
    }
    if flag(schema, "nullable") {
        errors.forbidden(&path.child("nullable"), "nullable cannot be true at the root");
    }
    let unsupported = unsupported(schema, 0);
    if unsupported.is_none() {
        let mut found = FieldErrors::new();
        structural(schema, Level::Root, path, 0, &mut found);
        completeness::check(schema, path, &mut found);
        found.0.sort_by_cached_key(ToString::to_string);
        if found.is_empty() {
            defaults::check(schema, path, &mut found);
        }
        errors.extend(found);
    }
    openapi(schema, path, 0, errors);
    if let Some(field) = unsupported.filter(|_| errors.0.len() == before) {
        errors.invalid(path, "", format!("OpenAPIV3Schema '{field}' is not supported"));
    }
}

/// The first field for which no place is asked what stands there: such schemas are refused for that field.
fn unsupported(schema: &Value, depth: usize) -> Option<&'static str> {
    const FILLED: [(&str, &str); 6] = [
        ("id", "id"),
        ("$schema", "schema"),
        ("$ref", "$ref"),
        ("patternProperties", "patternProperties"),
        ("dependencies", "dependencies"),
        ("definitions", "definitions"),
    ];
    if depth > MAX_DEPTH {
        return None;
    }
    let filled = |key: &str| field(schema, key).is_some_and(|value| !is_zero(value));
    if let Some((_, shown)) = FILLED.into_iter().find(|&(key, _)| filled(key)) {
        return Some(shown);
    }
    if field(schema, "additionalItems").is_some() {
        return Some("additionalItems");
    }
    if !list(schema, "items").is_empty() || schema.get(OPEN) == Some(&json!(false)) {
        return Some("items");
    }
    let ones = ["items", "additionalProperties", "not"].into_iter().filter_map(|key| field(schema, key));
    let parts = ["allOf", "anyOf", "oneOf"].into_iter().flat_map(|key| list(schema, key));
    let named = entries(schema, "properties").map(|(_, property)| property);
    ones.chain(parts).chain(named).find_map(|inner| unsupported(inner, depth + 1))
}

/// Whether a field says what its absence says.
fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

/// Every place of a schema says what stands there.
fn structural(schema: &Value, level: Level, path: &Path<'_>, depth: usize, errors: &mut FieldErrors) {
    if depth > MAX_DEPTH {
        return errors.invalid(path, "", "schema is nested too deeply");
    }
    let kind = text(schema, "type");
    let items = field(schema, "items").filter(|items| items.is_object());
    if kind == "array" && field(schema, "items").is_none() {
        errors.required(&path.child("items"), "must be specified");
    }
    if let Some(items) = items {
        structural(items, Level::Item, &path.child("items"), depth + 1, errors);
    }
    let properties = path.child("properties");
    for (name, property) in entries(schema, "properties") {
        structural(property, Level::Field, &properties.key(name), depth + 1, errors);
    }
    if let Some(values) = field(schema, "additionalProperties") {
        let path = path.child("additionalProperties");
        if level == Level::Root {
            errors.forbidden(&path, "must not be used at the root");
        }
        if values.is_object() {
            structural(values, Level::Field, &path, depth + 1, errors);
        }
        if flag(schema, EMBEDDED) {
            errors.forbidden(&path, "must not be used if x-kubernetes-embedded-resource is set");
        }
    }
    for key in [OPEN, EMBEDDED] {
        if flag(schema, EITHER) && flag(schema, key) {
            errors.invalid(&path.child(key), true, "must be false if x-kubernetes-int-or-string is true");
        }
    }
    combinations(schema, path, depth, errors);
    typed(schema, kind, level, path, errors);
    identity(schema, level, path, errors);
}

/// A place has a type, or says that it may be of several.
fn typed(schema: &Value, kind: &str, level: Level, path: &Path<'_>, errors: &mut FieldErrors) {
    let here = path.child("type");
    if flag(schema, EMBEDDED) && kind != "object" {
        let why = "must be object if x-kubernetes-embedded-resource is true";
        if kind.is_empty() {
            errors.required(&here, why);
        } else {
            errors.invalid(&here, kind, why);
        }
    } else if kind.is_empty() && !flag(schema, EITHER) && !flag(schema, OPEN) {
        let why = match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        errors.required(&here, why);
    }
    if level == Level::Root && !kind.is_empty() && kind != "object" {
        errors.invalid(&here, kind, "must be object at the root");
    }
    if flag(schema, EMBEDDED) && !flag(schema, OPEN) && empty(schema, "properties") {
        let why =
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        errors.required(&path.child("properties"), why);
    }
}

/// What every object has is what it is: only the name can be restricted.
fn identity(schema: &Value, level: Level, path: &Path<'_>, errors: &mut FieldErrors) {
    let properties = at(schema, &["properties"]);
    let path = path.child("properties");
    let whole = level == Level::Root || flag(schema, EMBEDDED);
    for (name, wanted) in [("kind", "string"), ("apiVersion", "string"), ("metadata", "object")] {
        let Some(own) = field(properties, name).filter(|_| whole) else { continue };
        if text(own, "type") != wanted {
            let why = format!("must be {wanted}");
            errors.invalid(&path.key(name).child("type"), text(own, "type"), why);
        }
    }
    let Some(metadata) = field(properties, "metadata").filter(|_| level == Level::Root) else { return };
    let more = metadata
        .as_object()
        .into_iter()
        .flatten()
        .any(|(key, value)| !matches!(key.as_str(), "type" | "properties" | "default") && !is_zero(value));
    if more || entries(metadata, "properties").any(|(name, _)| !matches!(name, "name" | "generateName")) {
        let why = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        errors.forbidden(&path.key("metadata"), why);
    }
}

/// `allOf`, `anyOf`, `oneOf` and `not` bound values further; they do not say what stands there.
fn combinations(schema: &Value, path: &Path<'_>, depth: usize, errors: &mut FieldErrors) {
    let either = json!([{"type": "integer"}, {"type": "string"}]);
    let is_either = |schema: &Value| schema.get("anyOf") == Some(&either);
    for key in ["anyOf", "allOf", "oneOf"] {
        let all = path.child(key);
        for (index, part) in list(schema, key).iter().enumerate() {
            let path = all.index(index);
            if key == "anyOf" && is_either(schema) {
                continue;
            }
            if key == "allOf" && index == 0 && is_either(part) {
                // Only what stands beside that is judged.
                let mut part = part.clone();
                if let Some(part) = part.as_object_mut() {
                    part.remove("anyOf");
                }
                nested(&part, &path, depth + 1, errors);
                continue;
            }
            nested(part, &path, depth + 1, errors);
        }
    }
    if let Some(part) = field(schema, "not") {
        nested(part, &path.child("not"), depth + 1, errors);
    }
}

fn nested(schema: &Value, path: &Path<'_>, depth: usize, errors: &mut FieldErrors) {
    if depth > MAX_DEPTH {
        return errors.invalid(path, "", "schema is nested too deeply");
    }
    combinations(schema, path, depth, errors);
    if let Some(items) = field(schema, "items").filter(|items| items.is_object()) {
        nested(items, &path.child("items"), depth + 1, errors);
    }
    let properties = path.child("properties");
    for (name, property) in entries(schema, "properties") {
        nested(property, &properties.key(name), depth + 1, errors);
    }
    for (key, why) in [
        ("type", "must be empty to be structural"),
        ("additionalProperties", "must be undefined to be structural"),
        ("default", "must be undefined to be structural"),
        ("title", "must be empty to be structural"),
        ("description", "must be empty to be structural"),
        ("nullable", "must be false to be structural"),
        ("externalDocs", "must be undefined to be structural"),
        (OPEN, "must be false to be structural"),
        (EMBEDDED, "must be false to be structural"),
        (EITHER, "must be false to be structural"),
        (LIST_KEYS, "must be empty to be structural"),
        (LIST_TYPE, "must be undefined to be structural"),
        (MAP_TYPE, "must be undefined to be structural"),
        (RULES, "must be empty to be structural"),
    ] {
        let said = match field(schema, key) {
            Some(value) if key == "additionalProperties" => value != &json!(false),
            Some(value) if why.contains("undefined") => !value.is_null(),
            Some(value) => !is_zero(value),
            None => false,
        };
        if said {
            errors.forbidden(&path.child(key), why);
        }
    }
    if field(at(schema, &["properties"]), "metadata").is_some() {
        errors.forbidden(&properties.key("metadata"), "must not be specified in a nested context");
    }
}

/// The fields that a schema may use at all, in every place.
fn openapi(schema: &Value, path: &Path<'_>, depth: usize, errors: &mut FieldErrors) {
    if depth > MAX_DEPTH {
        return;
    }
    let kind = text(schema, "type");
    one_of(errors, &path.child("type"), kind, &TYPES, false);
    for key in ["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"] {
        if !empty(schema, key) {
            errors.forbidden(&path.child(key), format!("{key} is not supported"));
        }
    }
    // One that Go takes and this engine does not is no reason to keep a kind out.
    let written = text(schema, "pattern");
    if !written.is_empty()
        && let Err(error @ PatternError::Malformed(_)) = pattern::compile(written, pattern::MAX_SIZE)
    {
        let why = format!("must be a valid regular expression, but isn't: {error}");
        errors.invalid(&path.child("pattern"), written, why);
    }
    if kind == "null" {
        errors.forbidden(&path.child("type"), "type cannot be set to null, use nullable as an alternative");
    }
    if !list(schema, "items").is_empty() {
        errors.forbidden(&path.child("items"), "items must be a schema object and not an array");
    }
    if flag(schema, "uniqueItems") {
        let why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.forbidden(&path.child("uniqueItems"), why);
    }
    let values = field(schema, "additionalProperties");
    if !empty(schema, "properties") && values.is_some_and(|values| values != &json!(true)) {
        let why = "additionalProperties and properties are mutual exclusive";
        errors.forbidden(&path.child("additionalProperties"), why);
    }
    let properties = path.child("properties");
    for (name, property) in entries(schema, "properties") {
        openapi(property, &properties.key(name), depth + 1, errors);
    }
    for key in ["items", "additionalProperties", "not"] {
        if let Some(inner) = field(schema, key).filter(|inner| inner.is_object()) {
            openapi(inner, &path.child(key), depth + 1, errors);
        }
    }
    for key in ["allOf", "oneOf", "anyOf"] {
        for (index, part) in list(schema, key).iter().enumerate() {
            openapi(part, &path.child(key).index(index), depth + 1, errors);
        }
    }
    if schema.get(OPEN) == Some(&json!(false)) {
        errors.invalid(&path.child(OPEN), false, "must be true or undefined");
    }
    topology::check(schema, path, errors);
    rules(schema, path, errors);
}

/// The words that go with rules; the rules themselves are checked by those who compile them.
fn rules(schema: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let all = path.child(RULES);
    let is_blank = |text: &str| !text.is_empty() && text.trim().is_empty();
    for (index, own) in list(schema, RULES).iter().enumerate() {
        let path = all.index(index);
        let (rule, message) = (text(own, "rule").trim(), text(own, "message"));
        let here = path.child("message");
        if rule.is_empty() {
            // Told by those who compile it.
        } else if is_blank(message) {
            errors.invalid(&here, message, "must be non-empty if specified");
        } else if message.trim().contains(['\n', '\r']) {
            errors.invalid(&here, message, "must not contain line breaks");
        } else if rule.contains(['\n', '\r']) && message.is_empty() {
            errors.required(&here, "message must be specified if rule contains line breaks");
        }
        if is_blank(text(own, "messageExpression")) {
            errors.required(&path.child("messageExpression"), "messageExpression must be non-empty if specified");
        }
        one_of(errors, &path.child("reason"), text(own, "reason"), &REASONS, false);
        let place = text(own, "fieldPath");
        let here = path.child("fieldPath");
        if is_blank(place) {
            errors.invalid(&here, place, "must be non-empty if specified");
        }
        if place.contains(['\n', '\r']) {
            errors.invalid(&here, place, "must not contain line breaks");
        }
        if !place.is_empty() && follow(place, schema, true).is_err() {
            errors.invalid(&here, place, "must be a valid path");
        }
    }
}

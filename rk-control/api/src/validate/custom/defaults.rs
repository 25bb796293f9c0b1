//! Defaults in schemas: they fit the schema beside which they stand, and stand only where they can be filled in (upstream's
//! `ValidateDefaults`). The rules (`x-kubernetes-validations`) are not asked of them.

use serde_json::Value;

use super::super::get::{entries, field, flag};
use super::schema::{EMBEDDED, MAX_DEPTH, OPEN};
use crate::custom::Trial;
use crate::meta::at;
use crate::status::{FieldErrors, Path};

/// What every object has.
const META: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// The defaults of a whole schema.
pub(super) fn check(schema: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    fitting(schema, &Trial::of(schema), false, path, 0, errors);
    forbidden(schema, None, Level { root: true, meta: false }, path, 0, errors);
}

/// Each default, but for those of values of maps, fits; `meta` when it lies in the metadata of an object.
fn fitting(schema: &Value, trial: &Trial, meta: bool, path: &Path<'_>, depth: usize, errors: &mut FieldErrors) {
    if depth > MAX_DEPTH {
        return;
    }
    let whole = depth == 0 || flag(schema, EMBEDDED);
    let meta = meta && !whole;
    if let Some(default) = field(schema, "default") {
        let here = path.child("default");
        // Metadata is never pruned by a schema.
        if !meta && has_unknown(default, schema, false) {
            errors.invalid(&here, default.clone(), "must not have unknown fields");
        }
        trial.judge(default, schema, &here, errors);
    }
    if let Some(items) = field(schema, "items").filter(|items| items.is_object()) {
        fitting(items, trial, meta, &path.child("items"), depth + 1, errors);
    }
    let all = path.child("properties");
    for (name, property) in entries(schema, "properties") {
        let meta = meta || (whole && META.contains(&name));
        fitting(property, trial, meta, &all.key(name), depth + 1, errors);
    }
}

/// Whether a value has fields that would be pruned; `kept` when it lies in lists of a schema that keeps what it does not know.
fn has_unknown(value: &Value, schema: &Value, kept: bool) -> bool {
    let open = kept || flag(schema, OPEN);
    match value {
        Value::Object(fields) => fields.iter().any(|(name, inner)| {
            if flag(schema, EMBEDDED) && META.contains(&name.as_str()) {
                return false;
            }
            let values = at(schema, &["additionalProperties"]);
            match field(at(schema, &["properties"]), name) {
                Some(property) => has_unknown(inner, property, false),
                None if values.is_object() => has_unknown(inner, values, false),
                None => !open && *values != Value::Bool(true),
            }
        }),
        Value::Array(items) => items.iter().any(|item| has_unknown(item, at(schema, &["items"]), open)),
        _ => false,
    }
}

/// Whose fields a place has.
#[derive(Clone, Copy)]
struct Level {
    /// The whole object.
    root: bool,
    /// Metadata, of the whole object or of one inside.
    meta: bool,
}

/// Tells of defaults where none may be; `why` says where that is.
fn forbidden(schema: &Value, why: Option<&str>, level: Level, path: &Path<'_>, depth: usize, errors: &mut FieldErrors) {
    if depth > MAX_DEPTH {
        return;
    }
    if let Some(why) = why.filter(|_| field(schema, "default").is_some()) {
        errors.forbidden(&path.child("default"), format!("must not be set {why}"));
    }
    if level.meta && flag(schema, EMBEDDED) {
        errors.forbidden(&path.child(EMBEDDED), "must not be used inside of resource meta");
    }
    let inner = Level { root: false, meta: level.meta };
    if let Some(values) = field(schema, "additionalProperties").filter(|values| values.is_object()) {
        let why = if level.meta { Some("inside additionalProperties applying to object metadata") } else { why };
        forbidden(values, why, inner, &path.child("additionalProperties"), depth + 1, errors);
    }
    if let Some(items) = field(schema, "items").filter(|items| items.is_object()) {
        forbidden(items, why, inner, &path.child("items"), depth + 1, errors);
    }
    let all = path.child("properties");
    for (name, property) in entries(schema, "properties") {
        let meta = (level.root || flag(schema, EMBEDDED)) && META.contains(&name);
        let top = format!("in top-level {name}");
        let why = if level.root && meta { Some(top.as_str()) } else { why };
        forbidden(property, why, Level { root: false, meta: meta || level.meta }, &all.key(name), depth + 1, errors);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(properties: Value) -> String {
        let mut errors = FieldErrors::new();
        check(&json!({"type": "object", "properties": properties}), &Path::new("s"), &mut errors);
        errors.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn defaults_fit_what_they_are_defaults_of() {
        let object = |more: Value| json!({"type": "object", "default": more, "properties": {"b": {"type": "integer"}}});
        assert_eq!(told(json!({"a": object(json!({"b": 1}))})), "");
        let unknown = told(json!({"a": object(json!({"c": 1}))}));
        assert_eq!(unknown, "s.properties[a].default: Invalid value: {\"c\":1}: must not have unknown fields");
        let wrong = told(json!({"a": object(json!({"b": "x"}))}));
        let want =
            "s.properties[a].default.b: Invalid value: \"string\": b in body must be of type integer: \"string\"";
        assert_eq!(wrong, want);
        let list = json!({"type": "array", "items": {"type": "string"}, "default": [1]});
        let said = told(json!({"a": list}));
        assert!(
            said.starts_with("s.properties[a].default.[0]: Invalid value: \"integer\": [0] in body must"),
            "{said}"
        );
        let whole = told(json!({"a": {"type": "string", "default": 1}}));
        let want = "s.properties[a].default: Invalid value: \"integer\":  in body must be of type string: \"integer\"";
        assert_eq!(whole, want);
        let text = |default: &str| {
            let all = json!({"type": "string", "maxLength": 2, "pattern": "^b", "default": default});
            told(json!({"a": all}))
        };
        assert!(text("aaa").contains("Too long"), "{}", text("aaa"));
        assert!(text("a").contains("should match '^b'"), "{}", text("a"));
        let open = json!({"a": {"type": "object", OPEN: true, "default": {"c": 1}}});
        assert_eq!(told(open), "");
    }

    #[test]
    fn lists_that_are_open_keep_what_lies_in_them_up_to_the_next_field() {
        let item = json!({"type": "object", "properties": {"b": {"type": "object"}}});
        let nested = json!({"type": "array", "items": item});
        for (open, items, default, fits) in [
            (true, &item, json!([{"c": 1}]), true),
            (true, &nested, json!([[{"c": 1}]]), true),
            (true, &item, json!([{"b": {"c": 1}}]), false),
            (false, &item, json!([{"c": 1}]), false),
        ] {
            let list = json!({"type": "array", OPEN: open, "default": default, "items": items});
            let said = told(json!({"a": list}));
            assert_eq!(said.is_empty(), fits, "{said}");
            assert_eq!(said.ends_with("must not have unknown fields"), !fits, "{said}");
        }
    }

    #[test]
    fn defaults_in_metadata_are_not_pruned() {
        let metadata =
            json!({"type": "object", "default": {"namespace": "x"}, "properties": {"name": {"type": "string"}}});
        let object =
            |embedded: bool| json!({"a": {"type": "object", EMBEDDED: embedded, "properties": {"metadata": metadata}}});
        assert_eq!(told(object(true)), "");
        let unknown = told(object(false));
        assert!(unknown.ends_with("must not have unknown fields"), "{unknown}");
    }

    #[test]
    fn nothing_is_filled_into_metadata() {
        let name = json!({"metadata": {"type": "object", "properties": {"name": {"type": "string", "default": "n"}}}});
        let why = "s.properties[metadata].properties[name].default: Forbidden: must not be set in top-level metadata";
        assert_eq!(told(name.clone()), why);
        assert_eq!(told(json!({"a": {"type": "object", EMBEDDED: true, "properties": name}})), "");
        let labels = json!({"metadata": {"type": "object", "properties": {"labels": {"type": "object",
            "additionalProperties": {"type": "string", "default": "x"}}}}});
        let why = "must not be set inside additionalProperties applying to object metadata";
        assert!(told(json!({"a": {"type": "object", EMBEDDED: true, "properties": labels}})).ends_with(why));
    }
}

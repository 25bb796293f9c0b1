//! Documents of custom kinds, made from their rows.

use std::collections::BTreeMap;

use rk_api::resources::{GroupVersionKind, Resource};
use serde_json::{Map, Value, json};

use crate::names::{LIST_META, OBJECT_META, STATUS, openapi_name};
use crate::paths::Paths;
use crate::spec::{Kinds, Spec, gvk_value};

/// The OpenAPI v3 document of one group and version.
#[must_use]
pub fn v3_document(rows: &[&Resource]) -> Value {
    let mut schemas = common();
    let (own, paths) = build(rows, Spec::V3, &schemas);
    schemas.extend(own);
    let bearer = json!({"type": "apiKey", "name": "authorization", "in": "header", "description": "Bearer Token authentication"});
    json!({
        "openapi": "3.0.0", "info": {"title": "Kubernetes CRD Swagger", "version": "v0.1.0"}, "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {"BearerToken": bearer}},
    })
}

/// Definitions and paths to add to the OpenAPI v2 document; they refer to definitions that are in it.
#[must_use]
pub fn v2_parts(rows: &[&Resource]) -> (Map<String, Value>, Map<String, Value>) {
    let (definitions, paths) = build(rows, Spec::V2, &common());
    (definitions.into_iter().collect(), paths)
}

/// What every document refers to, by name.
fn common() -> BTreeMap<String, Value> {
    // The text is embedded: it unpacks and parses.
    let text = crate::COMMON.text().unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

fn build(
    rows: &[&Resource],
    spec: Spec,
    common: &BTreeMap<String, Value>,
) -> (BTreeMap<String, Value>, Map<String, Value>) {
    let mut schemas = Schemas { spec, rows, common, done: BTreeMap::new() };
    let mut paths = Paths::new(spec, &mut schemas);
    rows.iter().for_each(|row| paths.resource(row));
    let paths = paths.finish();
    (schemas.done, paths)
}

struct Schemas<'a> {
    spec: Spec,
    rows: &'a [&'a Resource],
    common: &'a BTreeMap<String, Value>,
    done: BTreeMap<String, Value>,
}

/// `com.example.v1.Foo`: the group reversed, version and kind.
fn name_of(gvk: &GroupVersionKind, kind: &str) -> String {
    let mut group: Vec<&str> = gvk.group.split('.').collect();
    group.reverse();
    format!("{}.{}.{kind}", group.join("."), gvk.version)
}

impl Schemas<'_> {
    fn row(&self, gvk: &GroupVersionKind) -> Option<&Resource> {
        self.rows.iter().copied().find(|row| row.gvk == *gvk)
    }

    fn type_meta(&self, metadata: &str) -> Map<String, Value> {
        // Every object has these, and says the same of them.
        let told = |field: &str| self.common.get(STATUS).and_then(|status| status["properties"].get(field)).cloned();
        let mut fields = Map::new();
        for field in ["apiVersion", "kind"] {
            fields.insert(field.into(), told(field).unwrap_or_else(|| json!({"type": "string"})));
        }
        let mut reference = self.spec.reference(metadata);
        reference["description"] = json!("Standard object's metadata.");
        fields.insert("metadata".into(), self.spec.alone(reference));
        fields
    }

    /// A schema as it may be published: objects inside get their metadata, version 2 loses what it has no words for.
    fn published(&self, schema: &Value, root: bool) -> Value {
        let Value::Object(members) = schema else { return schema.clone() };
        let mut out = Map::new();
        let untold = Untold::of(self.spec, members);
        for (key, value) in members {
            if untold.covers(key) {
                continue;
            }
            let inner = |value: &Value| self.published(value, false);
            let value = match (key.as_str(), value) {
                ("nullable" | "oneOf" | "anyOf" | "allOf" | "not" | "default", _) if self.spec == Spec::V2 => continue,
                ("items" | "additionalProperties" | "not", Value::Object(_)) => inner(value),
                ("oneOf" | "anyOf" | "allOf", Value::Array(parts)) => parts.iter().map(inner).collect(),
                ("properties", Value::Object(fields)) => {
                    fields.iter().map(|(name, field)| (name.clone(), inner(field))).collect::<Map<_, _>>().into()
                }
                ("required", Value::Array(names)) if self.spec == Spec::V2 => {
                    let names = still_required(members, names);
                    if names.is_empty() {
                        continue;
                    }
                    names.into()
                }
                _ => value.clone(),
            };
            out.insert(key.clone(), value);
        }
        if self.spec == Spec::V3 && is_set(members, "x-kubernetes-int-or-string") {
            tell_both(&mut out);
        }
        let embedded = is_set(members, "x-kubernetes-embedded-resource") && !untold.fields;
        if root || embedded {
            let fields = self.type_meta(OBJECT_META);
            match out.entry("properties").or_insert_with(|| json!({})) {
                Value::Object(own) => own.extend(fields),
                _ => drop(out.insert("properties".into(), fields.into())),
            }
        }
        if embedded && !root {
            let required = out.entry("required").or_insert_with(|| json!([]));
            if let Value::Array(names) = required {
                let absent = ["kind", "apiVersion"].map(Value::from).into_iter().filter(|name| !names.contains(name));
                names.extend(absent.collect::<Vec<_>>());
            }
        }
        out.into()
    }
}

fn is_set(schema: &Map<String, Value>, key: &str) -> bool {
    schema.get(key) == Some(&Value::Bool(true))
}

/// Tells of what may be a number or a text that it may be both, unless it does that itself.
fn tell_both(schema: &mut Map<String, Value>) {
    let either = || json!([{"type": "integer"}, {"type": "string"}]);
    let told = schema.get("allOf").and_then(|all| all.get(0)).and_then(|first| first.get("anyOf"));
    if told == Some(&either()) || schema.get("anyOf") == Some(&either()) {
        return;
    }
    if !schema.contains_key("anyOf") {
        schema.insert("anyOf".into(), either());
        return;
    }
    if let Value::Array(all) = schema.entry("allOf").or_insert_with(|| json!([])) {
        all.insert(0, json!({"anyOf": either()}));
    }
}

/// What version 2 does not say of a schema, since clients that read it would refuse what the schema admits: they know neither null
/// nor unknown fields beside known ones, and no list without a schema of its items.
struct Untold {
    fields: bool,
    kind: bool,
}

impl Untold {
    fn of(spec: Spec, schema: &Map<String, Value>) -> Self {
        let (nullable, open) = (is_set(schema, "nullable"), is_set(schema, "x-kubernetes-preserve-unknown-fields"));
        let fields = nullable || open;
        let kind = match schema.get("type").and_then(Value::as_str) {
            Some("array") => fields || !schema.contains_key("items"),
            Some("object") => fields,
            _ => nullable,
        };
        let v2 = spec == Spec::V2;
        Self { fields: v2 && fields, kind: v2 && kind }
    }

    fn covers(&self, key: &str) -> bool {
        match key {
            "items" | "properties" => self.fields,
            "type" => self.kind,
            _ => false,
        }
    }
}

/// Fields that have to be there even for a client that takes null for nothing.
fn still_required(schema: &Map<String, Value>, names: &[Value]) -> Vec<Value> {
    let nullable = |schema: &Value| schema.as_object().is_some_and(|members| is_set(members, "nullable"));
    if schema.get("additionalProperties").is_some_and(nullable) {
        return Vec::new();
    }
    let fields = schema.get("properties").and_then(Value::as_object);
    let may_be_null = |name: &Value| name.as_str().and_then(|name| fields?.get(name)).is_some_and(nullable);
    names.iter().filter(|name| !may_be_null(name)).cloned().collect()
}

/// Whether a kind is told of without its fields: it has no schema, or version 2 would make clients refuse the unknown fields that
/// its schema preserves.
fn takes_anything(spec: Spec, schema: &Value) -> bool {
    let preserves = schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
    !schema.is_object() || (spec == Spec::V2 && preserves)
}

impl Kinds for Schemas<'_> {
    fn kind(&mut self, gvk: &GroupVersionKind) -> Option<String> {
        let Some(custom) = self.row(gvk).and_then(|row| row.custom.clone()) else {
            // Scale and the like are in the common part.
            return rk_api::schema::Schema::of_kind(gvk).map(|schema| openapi_name(schema.type_name()));
        };
        let name = name_of(gvk, &gvk.kind);
        if !self.done.contains_key(&name) {
            let mut schema = match takes_anything(self.spec, &custom.schema) {
                true => json!({"type": "object"}),
                false => self.published(&custom.schema, true),
            };
            schema["x-kubernetes-group-version-kind"] = json!([gvk_value(gvk)]);
            if !custom.selectable.is_empty() {
                let fields = custom.selectable.iter().map(|field| json!({ "fieldPath": field }));
                schema["x-kubernetes-selectable-fields"] = fields.collect();
            }
            self.done.insert(name.clone(), schema);
        }
        Some(name)
    }

    fn list(&mut self, resource: &Resource) -> Option<String> {
        let (gvk, kind, plural) = (&resource.gvk, resource.list_kind(), &resource.plural);
        let item = self.kind(gvk)?;
        let name = name_of(gvk, &kind);
        let mut properties = self.type_meta(LIST_META);
        let items =
            json!({"description": format!("List of {plural}."), "type": "array", "items": self.spec.reference(&item)});
        properties.insert("items".into(), items);
        let list = GroupVersionKind::new(gvk.group.clone(), gvk.version.clone(), kind.clone());
        let schema = json!({
            "description": format!("{kind} is a list of {}", gvk.kind), "type": "object", "required": ["items"],
            "properties": properties, "x-kubernetes-group-version-kind": [gvk_value(&list)],
        });
        self.done.insert(name.clone(), schema);
        Some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_that_keeps_unknown_fields_shows_none_in_version_2() {
        let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"spec": {}}});
        let inside = json!({"type": "object", "properties": {"spec": {"x-kubernetes-preserve-unknown-fields": true}}});
        assert!(takes_anything(Spec::V2, &open) && !takes_anything(Spec::V3, &open));
        assert!(!takes_anything(Spec::V2, &inside));
        assert!(takes_anything(Spec::V3, &Value::Null));
    }

    #[test]
    fn fields_that_selectors_may_name_are_told_in_both_versions() {
        let rows = rk_api::custom::rows(&json!({"spec": {"group": "a.example", "scope": "Namespaced",
            "names": {"plural": "shirts", "kind": "Shirt"},
            "versions": [{"name": "v1", "served": true, "storage": true, "selectableFields": [{"jsonPath": ".spec.color"}],
                "schema": {"openAPIV3Schema": {"type": "object"}}}]}}));
        let rows: Vec<&Resource> = rows.iter().collect();
        let (name, want) = ("example.a.v1.Shirt", json!([{"fieldPath": "spec.color"}]));
        assert_eq!(v3_document(&rows)["components"]["schemas"][name]["x-kubernetes-selectable-fields"], want);
        let (definitions, _) = v2_parts(&rows);
        assert_eq!(definitions[name]["x-kubernetes-selectable-fields"], want);
        let list = &definitions["example.a.v1.ShirtList"];
        assert!(list.is_object() && list.get("x-kubernetes-selectable-fields").is_none());
    }

    #[test]
    fn what_may_be_a_number_or_a_text_is_told_to_be_both() {
        let either = || json!([{"type": "integer"}, {"type": "string"}]);
        let common = common();
        let schemas = |spec| Schemas { spec, rows: &[], common: &common, done: BTreeMap::new() };
        let open = || json!({"x-kubernetes-int-or-string": true});
        let with = |key: &str, value: Value| {
            let mut schema = open();
            schema[key] = value;
            schema
        };
        let own = json!([{"pattern": "a"}]);
        let mut more = with("anyOf", own.clone());
        more["allOf"] = json!([{"anyOf": either()}]);
        for (schema, wanted) in [
            (open(), with("anyOf", either())),
            (with("anyOf", either()), with("anyOf", either())),
            (with("anyOf", own), more.clone()),
            (more.clone(), more),
        ] {
            assert_eq!(schemas(Spec::V3).published(&schema, false), wanted, "{schema}");
        }
        assert_eq!(schemas(Spec::V2).published(&open(), false), open());
        let told = &schemas(Spec::V3).type_meta(OBJECT_META)["kind"];
        assert!(told["type"] == "string" && told["description"].is_string(), "{told}");
    }

    #[test]
    fn operations_of_custom_kinds_know_no_messages() {
        let rows = rk_api::custom::rows(&json!({"spec": {"group": "a.example", "scope": "Cluster",
            "names": {"plural": "shirts", "kind": "Shirt"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}}));
        let rows: Vec<&Resource> = rows.iter().collect();
        let document = v3_document(&rows);
        let (all, one) = ("/apis/a.example/v1/shirts", "/apis/a.example/v1/shirts/{name}");
        let content = &document["paths"][all]["post"]["requestBody"]["content"];
        assert!(content["application/yaml"].is_object() && content.as_object().is_some_and(|own| own.len() == 2));
        assert_eq!(document["paths"][one]["get"]["parameters"][0]["name"], "resourceVersion");
        assert!(document["paths"][all]["delete"]["requestBody"].is_null());
        assert!(document["paths"][one]["patch"]["responses"]["201"].is_null());
    }

    #[test]
    fn version_2_says_nothing_that_clients_would_refuse_what_is_admitted_for() {
        let text = || json!({"type": "string"});
        let common = common();
        let schemas = |spec| Schemas { spec, rows: &[], common: &common, done: BTreeMap::new() };
        let cases = [
            (json!({"type": "string", "nullable": true}), json!({})),
            (json!({"type": "string", "default": "a"}), text()),
            (
                json!({"type": "string", "x-kubernetes-validations": [{"rule": "true"}]}),
                json!({"type": "string", "x-kubernetes-validations": [{"rule": "true"}]}),
            ),
            (json!({"type": "array", "nullable": true, "items": text()}), json!({})),
            (json!({"type": "array", "items": text()}), json!({"type": "array", "items": text()})),
            (json!({"type": "array"}), json!({})),
            (
                json!({"type": "object", "properties": {"a": text()}}),
                json!({"type": "object", "properties": {"a": text()}}),
            ),
            (
                json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"a": text()}}),
                json!({"x-kubernetes-preserve-unknown-fields": true}),
            ),
            (
                json!({"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}),
                json!({"x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}),
            ),
            (
                json!({"type": "object", "x-kubernetes-embedded-resource": true}),
                json!({"type": "object", "x-kubernetes-embedded-resource": true, "required": ["kind", "apiVersion"],
                    "properties": schemas(Spec::V2).type_meta(OBJECT_META)}),
            ),
            (
                json!({"type": "object", "required": ["a", "b"],
                    "properties": {"a": text(), "b": {"type": "string", "nullable": true}}}),
                json!({"type": "object", "required": ["a"], "properties": {"a": text(), "b": {}}}),
            ),
            (
                json!({"type": "object", "required": ["a"], "additionalProperties": {"type": "string", "nullable": true}}),
                json!({"type": "object", "additionalProperties": {}}),
            ),
        ];
        for (schema, expected) in cases {
            assert_eq!(schemas(Spec::V2).published(&schema, false), expected, "{schema}");
            if !is_set(schema.as_object().expect("an object"), "x-kubernetes-embedded-resource") {
                assert_eq!(schemas(Spec::V3).published(&schema, false), schema);
            }
        }
    }
}

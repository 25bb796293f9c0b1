//! The OpenAPI v2 document in protobuf, in the messages of gnostic's `OpenAPIv2.proto`: what kubectl asks for.
//!
//! Parts of a document that are written one after the other read as their union, since protobuf merges repeated messages: that is how
//! documents of custom resources are appended to the built-in one.

use serde_json::{Map, Value};

/// Encodes a document; members that the API never uses are left out.
#[must_use]
pub fn encode(document: &Value) -> Vec<u8> {
    let mut out = Message::default();
    out.text(1, &document["swagger"]);
    let info = &document["info"];
    if info.is_object() {
        out.message(2, |to| {
            to.text(1, &info["title"]);
            to.text(2, &info["version"]);
        });
    }
    for (number, name, path_number) in [(8, "paths", 2), (9, "definitions", 1)] {
        let Some(members) = document[name].as_object() else { continue };
        let write = if number == 8 { path_item } else { schema };
        out.message(number, |to| named(to, path_number, members, write));
    }
    for requirement in list(&document["security"]) {
        out.message(12, |to| named(to, 1, object(requirement), |to, scopes| to.texts(1, scopes)));
    }
    if let Some(definitions) = document["securityDefinitions"].as_object() {
        out.message(13, |to| named(to, 1, definitions, |to, key| to.message(2, |to| api_key(to, key))));
    }
    out.0
}

/// A message under construction.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn bytes(&mut self, number: u32, bytes: &[u8]) {
        self.varint(u64::from(number) << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn message(&mut self, number: u32, write: impl FnOnce(&mut Message)) {
        let mut inner = Message::default();
        write(&mut inner);
        self.bytes(number, &inner.0);
    }

    fn text(&mut self, number: u32, value: &Value) {
        if let Some(text) = value.as_str().filter(|text| !text.is_empty()) {
            self.bytes(number, text.as_bytes());
        }
    }

    fn texts(&mut self, number: u32, values: &Value) {
        list(values).filter_map(Value::as_str).for_each(|text| self.bytes(number, text.as_bytes()));
    }

    fn flag(&mut self, number: u32, value: &Value) {
        if value.as_bool() == Some(true) {
            self.varint(u64::from(number) << 3);
            self.varint(1);
        }
    }

    fn integer(&mut self, number: u32, value: &Value) {
        if let Some(value) = value.as_i64().filter(|value| *value != 0) {
            self.varint(u64::from(number) << 3);
            // Negative numbers take ten bytes, sign-extended.
            self.varint(value as u64);
        }
    }

    fn double(&mut self, number: u32, value: &Value) {
        if let Some(value) = value.as_f64().filter(|value| *value != 0.0) {
            self.varint(u64::from(number) << 3 | 1);
            self.0.extend_from_slice(&value.to_le_bytes());
        }
    }

    /// A value of any form, as YAML text; JSON is YAML.
    fn any(&mut self, number: u32, value: &Value) {
        if !value.is_null() {
            self.message(number, |to| to.bytes(2, value.to_string().as_bytes()));
        }
    }

    /// The members that begin with `x-`.
    fn extensions(&mut self, number: u32, members: &Map<String, Value>) {
        for (name, value) in members.iter().filter(|(name, _)| name.starts_with("x-")) {
            self.message(number, |to| {
                to.bytes(1, name.as_bytes());
                to.any(2, value);
            });
        }
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn object(value: &Value) -> &Map<String, Value> {
    static EMPTY: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    value.as_object().unwrap_or(&EMPTY)
}

/// A map as repeated pairs of name and value.
fn named(to: &mut Message, number: u32, members: &Map<String, Value>, write: impl Fn(&mut Message, &Value)) {
    for (name, value) in members {
        to.message(number, |to| {
            to.bytes(1, name.as_bytes());
            to.message(2, |to| write(to, value));
        });
    }
}

fn path_item(to: &mut Message, item: &Value) {
    for (number, method) in
        [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (6, "options"), (7, "head"), (8, "patch")]
    {
        let found = &item[method];
        if found.is_object() {
            to.message(number, |to| operation(to, found));
        }
    }
    list(&item["parameters"]).for_each(|value| to.message(9, |to| parameter(to, value)));
    to.extensions(10, object(item));
}

fn operation(to: &mut Message, operation: &Value) {
    to.texts(1, &operation["tags"]);
    to.text(2, &operation["summary"]);
    to.text(3, &operation["description"]);
    to.text(5, &operation["operationId"]);
    to.texts(6, &operation["produces"]);
    to.texts(7, &operation["consumes"]);
    list(&operation["parameters"]).for_each(|value| to.message(8, |to| parameter(to, value)));
    let responses = object(&operation["responses"]);
    to.message(9, |to| named(to, 1, responses, |to, answer| to.message(1, |to| response(to, answer))));
    to.texts(10, &operation["schemes"]);
    to.flag(11, &operation["deprecated"]);
    to.extensions(13, object(operation));
}

fn response(to: &mut Message, response: &Value) {
    to.text(1, &response["description"]);
    let body = &response["schema"];
    if body.is_object() {
        to.message(2, |to| to.message(1, |to| schema(to, body)));
    }
}

/// A parameter inside its three unions: reference or not, body or not, and where.
fn parameter(to: &mut Message, value: &Value) {
    to.message(1, |to| match value["in"].as_str() {
        Some("body") => to.message(1, |to| {
            to.text(1, &value["description"]);
            to.text(2, &value["name"]);
            to.text(3, &value["in"]);
            to.flag(4, &value["required"]);
            to.message(5, |to| schema(to, &value["schema"]));
            to.extensions(6, object(value));
        }),
        place => to.message(2, |to| {
            let query = place == Some("query");
            to.message(if query { 3 } else { 4 }, |to| {
                to.flag(1, &value["required"]);
                to.text(2, &value["in"]);
                to.text(3, &value["description"]);
                to.text(4, &value["name"]);
                // Only query parameters may be empty; what follows that flag is counted from there.
                let shift = u32::from(query);
                to.text(5 + shift, &value["type"]);
                to.text(6 + shift, &value["format"]);
                to.flag(19 + shift, &value["uniqueItems"]);
                to.extensions(22 + shift, object(value));
            });
        }),
    });
}

fn schema(to: &mut Message, value: &Value) {
    for (number, name) in
        [(1, "$ref"), (2, "format"), (3, "title"), (4, "description"), (13, "pattern"), (26, "discriminator")]
    {
        to.text(number, &value[name]);
    }
    to.any(5, &value["default"]);
    for (number, name) in [(6, "multipleOf"), (7, "maximum"), (9, "minimum")] {
        to.double(number, &value[name]);
    }
    for (number, name) in [(8, "exclusiveMaximum"), (10, "exclusiveMinimum"), (16, "uniqueItems"), (27, "readOnly")] {
        to.flag(number, &value[name]);
    }
    for (number, name) in [
        (11, "maxLength"),
        (12, "minLength"),
        (14, "maxItems"),
        (15, "minItems"),
        (17, "maxProperties"),
        (18, "minProperties"),
    ] {
        to.integer(number, &value[name]);
    }
    to.texts(19, &value["required"]);
    list(&value["enum"]).for_each(|choice| to.any(20, choice));
    match &value["additionalProperties"] {
        Value::Object(_) => to.message(21, |to| to.message(1, |to| schema(to, &value["additionalProperties"]))),
        flag @ Value::Bool(true) => to.message(21, |to| to.flag(2, flag)),
        _ => {}
    }
    match &value["type"] {
        Value::String(_) => to.message(22, |to| to.text(1, &value["type"])),
        Value::Array(_) => to.message(22, |to| to.texts(1, &value["type"])),
        _ => {}
    }
    if value["items"].is_object() {
        to.message(23, |to| to.message(1, |to| schema(to, &value["items"])));
    }
    list(&value["allOf"]).for_each(|part| to.message(24, |to| schema(to, part)));
    if let Some(properties) = value["properties"].as_object() {
        to.message(25, |to| named(to, 1, properties, schema));
    }
    to.any(30, &value["example"]);
    to.extensions(31, object(value));
}

fn api_key(to: &mut Message, key: &Value) {
    for (number, name) in [(1, "type"), (2, "name"), (3, "in"), (4, "description")] {
        to.text(number, &key[name]);
    }
}

//! The OpenAPI v2 document in protobuf, in the messages of gnostic's `OpenAPIv2.proto`: what kubectl asks for.
//!
//! Parts of a document that are written one after the other read as their union, since protobuf merges repeated messages: that is how
//! documents of custom resources are appended to the built-in one.

use serde_json::Value;

use super::message::{Message, list, named, object};

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
    out.into_bytes()
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

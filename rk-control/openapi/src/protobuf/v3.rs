//! The OpenAPI v3 documents in protobuf, in the messages of gnostic's `OpenAPIv3.proto`.

use serde_json::{Map, Value};

use super::message::{Message, list, named, object};

/// Encodes a document; members that the API never uses are left out.
#[must_use]
pub fn encode(document: &Value) -> Vec<u8> {
    let mut out = Message::default();
    out.text(1, &document["openapi"]);
    let info = &document["info"];
    out.message(2, |to| {
        to.text(1, &info["title"]);
        to.text(6, &info["version"]);
    });
    out.message(4, |to| named(to, 1, object(&document["paths"]), path_item));
    out.message(5, |to| components(to, &document["components"]));
    for requirement in list(&document["security"]) {
        out.message(6, |to| named(to, 1, object(requirement), |to, scopes| to.texts(1, scopes)));
    }
    out.into_bytes()
}

fn components(to: &mut Message, components: &Value) {
    to.message(1, |to| named(to, 1, object(&components["schemas"]), schema_or_reference));
    if let Some(schemes) = components["securitySchemes"].as_object() {
        to.message(7, |to| named(to, 1, schemes, |to, scheme| to.message(1, |to| security_scheme(to, scheme))));
    }
}

fn security_scheme(to: &mut Message, scheme: &Value) {
    for (number, name) in [(1, "type"), (2, "description"), (3, "name"), (4, "in"), (5, "scheme"), (6, "bearerFormat")]
    {
        to.text(number, &scheme[name]);
    }
}

fn path_item(to: &mut Message, item: &Value) {
    for (number, method) in
        [(4, "get"), (5, "put"), (6, "post"), (7, "delete"), (8, "options"), (9, "head"), (10, "patch")]
    {
        let found = &item[method];
        if found.is_object() {
            to.message(number, |to| operation(to, found));
        }
    }
    list(&item["parameters"]).for_each(|value| to.message(13, |to| either(to, value, parameter)));
    to.extensions(14, object(item));
}

fn operation(to: &mut Message, operation: &Value) {
    to.texts(1, &operation["tags"]);
    to.text(2, &operation["summary"]);
    to.text(3, &operation["description"]);
    to.text(5, &operation["operationId"]);
    list(&operation["parameters"]).for_each(|value| to.message(6, |to| either(to, value, parameter)));
    let body = &operation["requestBody"];
    if body.is_object() {
        to.message(7, |to| either(to, body, request_body));
    }
    to.message(8, |to| responses(to, object(&operation["responses"])));
    to.flag(10, &operation["deprecated"]);
    to.extensions(13, object(operation));
}

fn responses(to: &mut Message, responses: &Map<String, Value>) {
    if let Some(other) = responses.get("default") {
        to.message(1, |to| either(to, other, response));
    }
    let codes = responses.iter().filter(|(code, _)| *code != "default" && !code.starts_with("x-"));
    for (code, answer) in codes {
        to.message(2, |to| {
            to.bytes(1, code.as_bytes());
            to.message(2, |to| either(to, answer, response));
        });
    }
}

fn response(to: &mut Message, response: &Value) {
    to.text(1, &response["description"]);
    content(to, 3, &response["content"]);
}

fn request_body(to: &mut Message, body: &Value) {
    to.text(1, &body["description"]);
    content(to, 2, &body["content"]);
    to.flag(3, &body["required"]);
}

fn parameter(to: &mut Message, value: &Value) {
    for (number, name) in [(1, "name"), (2, "in"), (3, "description")] {
        to.text(number, &value[name]);
    }
    to.flag(4, &value["required"]);
    if value["schema"].is_object() {
        to.message(10, |to| schema_or_reference(to, &value["schema"]));
    }
    to.extensions(14, object(value));
}

/// What a body may be, by media type.
fn content(to: &mut Message, number: u32, content: &Value) {
    let Some(types) = content.as_object() else { return };
    to.message(number, |to| {
        named(to, 1, types, |to, media| {
            if media["schema"].is_object() {
                to.message(1, |to| schema_or_reference(to, &media["schema"]));
            }
        });
    });
}

/// A union of something and a reference to it.
fn either(to: &mut Message, value: &Value, write: impl FnOnce(&mut Message, &Value)) {
    if value["$ref"].is_string() {
        to.message(2, |to| to.text(1, &value["$ref"]));
    } else {
        to.message(1, |to| write(to, value));
    }
}

fn schema_or_reference(to: &mut Message, value: &Value) {
    either(to, value, schema);
}

fn schema(to: &mut Message, value: &Value) {
    for (number, name) in [(1, "nullable"), (3, "readOnly"), (4, "writeOnly"), (8, "deprecated"), (20, "uniqueItems")] {
        to.flag(number, &value[name]);
    }
    for (number, name) in [(12, "exclusiveMaximum"), (14, "exclusiveMinimum")] {
        to.flag(number, &value[name]);
    }
    to.any(7, &value["example"]);
    for (number, name) in [(9, "title"), (17, "pattern"), (25, "type"), (34, "description"), (35, "format")] {
        to.text(number, &value[name]);
    }
    for (number, name) in [(10, "multipleOf"), (11, "maximum"), (13, "minimum")] {
        to.double(number, &value[name]);
    }
    for (number, name) in [
        (15, "maxLength"),
        (16, "minLength"),
        (18, "maxItems"),
        (19, "minItems"),
        (21, "maxProperties"),
        (22, "minProperties"),
    ] {
        to.integer(number, &value[name]);
    }
    to.texts(23, &value["required"]);
    list(&value["enum"]).for_each(|choice| to.any(24, choice));
    for (number, name) in [(26, "allOf"), (27, "oneOf"), (28, "anyOf")] {
        list(&value[name]).for_each(|part| to.message(number, |to| schema_or_reference(to, part)));
    }
    if value["not"].is_object() {
        to.message(29, |to| schema(to, &value["not"]));
    }
    if value["items"].is_object() {
        to.message(30, |to| to.message(1, |to| schema_or_reference(to, &value["items"])));
    }
    if let Some(properties) = value["properties"].as_object() {
        to.message(31, |to| named(to, 1, properties, schema_or_reference));
    }
    match &value["additionalProperties"] {
        Value::Object(_) => {
            to.message(32, |to| to.message(1, |to| schema_or_reference(to, &value["additionalProperties"])));
        }
        flag @ Value::Bool(true) => to.message(32, |to| to.flag(2, flag)),
        _ => {}
    }
    // The message has no place for objects and lists.
    let default = &value["default"];
    if default.is_number() || default.is_boolean() || default.is_string() {
        to.message(33, |to| to.one_of(default));
    }
    to.extensions(36, object(value));
}

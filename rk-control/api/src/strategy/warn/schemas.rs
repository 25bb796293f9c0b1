//! Schemas of custom kinds.

use serde_json::Value;

use super::{Found, MOST, list};
use crate::custom::is_known_format;
use crate::meta::{at, text};
use crate::status::quote;

/// Deepest schema that is looked at; deeper ones are refused.
const MAX_DEPTH: usize = 64;

/// Formats that no version of the API looks at; of a changed definition those that are new.
pub(super) fn check(definition: &Value, old: Option<&Value>, found: &mut Found) {
    let before = old.map(unknown).unwrap_or_default();
    for format in unknown(definition) {
        if !before.contains(&format) {
            found.say(format_args!("unrecognized format {}", quote(format)));
        }
    }
}

fn unknown(definition: &Value) -> Vec<&str> {
    let mut formats = Vec::new();
    for version in list(at(definition, &["spec"]), "versions") {
        collect(at(version, &["schema", "openAPIV3Schema"]), 0, &mut formats);
    }
    formats
}

fn collect<'a>(schema: &'a Value, depth: usize, formats: &mut Vec<&'a str>) {
    if depth > MAX_DEPTH || formats.len() == MOST || !schema.is_object() {
        return;
    }
    let format = text(schema, &["format"]);
    if !format.is_empty() && !is_known_format(text(schema, &["type"]), format) && !formats.contains(&format) {
        formats.push(format);
    }
    for key in ["items", "additionalProperties", "not"] {
        collect(at(schema, &[key]), depth + 1, formats);
    }
    for key in ["allOf", "anyOf", "oneOf"] {
        for below in list(schema, key) {
            collect(below, depth + 1, formats);
        }
    }
    for (_, below) in at(schema, &["properties"]).as_object().into_iter().flatten() {
        collect(below, depth + 1, formats);
    }
}

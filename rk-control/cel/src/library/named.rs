//! Formats of strings by name.

use rk_api::meta;

use super::{no_overload, text};
use crate::registry::Row;
use crate::value::Value;

/// Names of the formats; the last ones come from OpenAPI.
const NAMES: &[&str] = &[
    "dns1123Label",
    "dns1123Subdomain",
    "dns1035Label",
    "qualifiedName",
    "dns1123LabelPrefix",
    "dns1123SubdomainPrefix",
    "dns1035LabelPrefix",
    "labelValue",
    "uri",
    "uuid",
    "byte",
    "date",
    "datetime",
];

/// Rows of the functions that return a format.
macro_rules! formats {
    ($($function:literal $name:literal),*) => {
        &[$(Row($function, ">F", |_, _| Ok(Value::Format($name)))),*]
    };
}

pub(super) const FORMATS: &[Row] = formats!(
    "format.dns1123Label" "dns1123Label", "format.dns1123Subdomain" "dns1123Subdomain",
    "format.dns1035Label" "dns1035Label", "format.qualifiedName" "qualifiedName",
    "format.dns1123LabelPrefix" "dns1123LabelPrefix", "format.dns1123SubdomainPrefix" "dns1123SubdomainPrefix",
    "format.dns1035LabelPrefix" "dns1035LabelPrefix", "format.labelValue" "labelValue", "format.uri" "uri",
    "format.uuid" "uuid", "format.byte" "byte", "format.date" "date", "format.datetime" "datetime"
);

pub(super) const TABLE: &[Row] = &[
    Row("format.named", "S>OF", |_, a| {
        let found = NAMES.iter().find(|name| **name == text(a, 0));
        Ok(found.map_or(Value::Optional(None), |name| Value::some(Value::Format(name))))
    }),
    Row("validate", ".FS>OLS", |_, a| match a {
        [Value::Format(name), _] => Ok(judge(name, text(a, 1))),
        _ => no_overload(),
    }),
];

/// What is wrong with a text; nothing when it has the format.
fn judge<'a>(name: &str, text: &str) -> Value<'a> {
    // A prefix is what a name may begin with: it may end in a dash.
    let stem = text.strip_suffix('-').unwrap_or(text);
    let openapi = |format: &str, words: &str| {
        if rk_api::custom::has_format(format, text) { Vec::new() } else { vec![words.to_owned()] }
    };
    let broken = match name {
        "dns1123Label" => meta::dns1123_label(text),
        "dns1123Subdomain" => meta::dns1123_subdomain(text),
        "dns1035Label" => meta::dns1035_label(text),
        "dns1123LabelPrefix" => meta::dns1123_label(stem),
        "dns1123SubdomainPrefix" => meta::dns1123_subdomain(stem),
        "dns1035LabelPrefix" => meta::dns1035_label(stem),
        "qualifiedName" => meta::qualified_name(text),
        "labelValue" => meta::label_value(text),
        "uri" => openapi("uri", "invalid URI"),
        "uuid" => openapi("uuid", "does not match the UUID format"),
        "byte" => openapi("byte", "invalid base64"),
        "date" => openapi("date", "invalid date"),
        _ => openapi("date-time", "invalid datetime"),
    };
    if broken.is_empty() {
        return Value::Optional(None);
    }
    Value::some(Value::list(broken.into_iter().map(Value::text).collect()))
}

//! Reading objects under validation. Types were checked when the object was decoded, so a wrong type reads as absent.

use serde_json::Value;

use crate::meta::Quantity;
use crate::status::{FieldErrors, Path};

/// A string field, or the empty string.
pub(super) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// A field that is there and not null.
pub(super) fn field<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    value.get(key).filter(|v| !v.is_null())
}

/// An integer field.
pub(super) fn int(value: &Value, key: &str) -> Option<i64> {
    value.get(key).and_then(Value::as_i64)
}

/// A boolean field; absent is false.
pub(super) fn flag(value: &Value, key: &str) -> bool {
    value.get(key).and_then(Value::as_bool).unwrap_or(false)
}

/// The elements of a list field.
pub(super) fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The strings of a list field.
pub(super) fn strings<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a str> {
    list(value, key).iter().map(|v| v.as_str().unwrap_or_default())
}

/// The entries of a map field.
pub(super) fn entries<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = (&'a str, &'a Value)> {
    value.get(key).and_then(Value::as_object).into_iter().flatten().map(|(k, v)| (k.as_str(), v))
}

/// Whether a map or list field has no entry.
pub(super) fn empty(value: &Value, key: &str) -> bool {
    match value.get(key) {
        Some(Value::Object(map)) => map.is_empty(),
        Some(Value::Array(list)) => list.is_empty(),
        Some(Value::String(text)) => text.is_empty(),
        other => other.is_none_or(Value::is_null),
    }
}

/// An amount; what is none reads as nothing.
pub(super) fn amount(value: &Value) -> Quantity {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// How long a token of a service account may live: ten minutes at least.
pub(super) fn token_life(errors: &mut FieldErrors, path: &Path<'_>, seconds: i64) {
    if seconds < 600 {
        errors.invalid(path, seconds, "may not specify a duration less than 10 minutes");
    } else if seconds > 1 << 32 {
        errors.invalid(path, seconds, "may not specify a duration larger than 2^32 seconds");
    }
}

/// One `Invalid value` per broken rule of a name.
pub(super) fn named(errors: &mut FieldErrors, path: &Path<'_>, value: &str, rules: Vec<String>) {
    for rule in rules {
        errors.invalid(path, value, rule);
    }
}

/// A required string that must follow rules.
pub(super) fn required_name(errors: &mut FieldErrors, path: &Path<'_>, value: &str, rules: fn(&str) -> Vec<String>) {
    if value.is_empty() {
        errors.required(path, "");
    } else {
        named(errors, path, value, rules(value));
    }
}

/// One of a few words that upstream lists in an order of its own; absent passes.
pub(super) fn one_of_listed(errors: &mut FieldErrors, path: &Path<'_>, value: &str, words: &[&str]) {
    if !value.is_empty() && !words.contains(&value) {
        errors.unsupported_as_listed(path, value, words);
    }
}

/// One of a few words that upstream lists in an order of its own; one must be there.
pub(super) fn required_of_listed(errors: &mut FieldErrors, path: &Path<'_>, value: &str, words: &[&str]) {
    if value.is_empty() {
        errors.required(path, "");
    }
    one_of_listed(errors, path, value, words);
}

/// One of a few words; absent passes unless `required`.
pub(super) fn one_of(errors: &mut FieldErrors, path: &Path<'_>, value: &str, words: &[&str], required: bool) {
    if value.is_empty() && required {
        errors.required(path, "");
    } else if !value.is_empty() && !words.contains(&value) {
        errors.unsupported(path, value, words);
    }
}

/// One of a few words in a field that may be absent, but not empty.
pub(super) fn word_of(errors: &mut FieldErrors, path: &Path<'_>, holder: &Value, key: &str, words: &[&str]) {
    if let Some(word) = field(holder, key).and_then(Value::as_str).filter(|word| !words.contains(word)) {
        errors.unsupported(&path.child(key), word, words);
    }
}

/// `must be greater than or equal to 0`.
pub(super) fn non_negative(errors: &mut FieldErrors, path: &Path<'_>, value: Option<i64>) {
    if let Some(value) = value.filter(|v| *v < 0) {
        errors.invalid(path, value, "must be greater than or equal to 0");
    }
}

/// A number or percentage, not below zero.
pub(super) fn int_or_percent(value: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    match value {
        Value::String(text) => {
            let digits = text.strip_suffix('%').unwrap_or_default();
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                let why = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for \
                           validation is '[0-9]+%')";
                errors.invalid(path, text.as_str(), why);
            }
        }
        Value::Number(_) => non_negative(errors, path, value.as_i64()),
        _ => {}
    }
}

/// `must not be greater than 100%`.
pub(super) fn at_most_all(value: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let percent = value.as_str().and_then(|t| t.strip_suffix('%')).and_then(|t| t.parse::<i64>().ok());
    if percent.is_some_and(|p| p > 100) {
        errors.invalid(path, value.clone(), "must not be greater than 100%");
    }
}

/// `must be between low and high, inclusive`.
pub(super) fn in_range(errors: &mut FieldErrors, path: &Path<'_>, value: i64, low: i64, high: i64) {
    for rule in crate::meta::in_range(value, low, high) {
        errors.invalid(path, value, rule);
    }
}

/// `field is immutable`, when the field changed.
pub(super) fn immutable(errors: &mut FieldErrors, path: &Path<'_>, new: Option<&Value>, old: Option<&Value>) {
    let (new, old) = (new.unwrap_or(&Value::Null), old.unwrap_or(&Value::Null));
    if new != old {
        errors.invalid(path, new.clone(), "field is immutable");
    }
}

/// A port number, or the name of a container's port.
pub(super) fn port_or_name(errors: &mut FieldErrors, path: &Path<'_>, value: &Value) {
    match value {
        Value::String(name) => named(errors, path, name, crate::meta::port_name(name)),
        other => {
            let port = other.as_i64().unwrap_or(0);
            for rule in crate::meta::port_number(port) {
                errors.invalid(path, port, rule);
            }
        }
    }
}

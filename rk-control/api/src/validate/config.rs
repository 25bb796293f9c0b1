//! ConfigMaps and Secrets.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::get::{entries, field, flag, immutable, named, text};
use crate::meta::{at, config_map_key};
use crate::status::{FieldErrors, Path};

/// Most data in one object, in bytes.
const MAX: usize = 1024 * 1024;

/// ConfigMap.
pub(super) fn config_map(object: &Value, errors: &mut FieldErrors) {
    let mut total = 0;
    for (key, value) in entries(object, "data") {
        named(errors, &Path::new("data").key(key), key, config_map_key(key));
        if at(object, &["binaryData", key]) != &Value::Null {
            errors.invalid(&Path::new("data").key(key), key, "duplicate of key present in binaryData");
        }
        total += value.as_str().map_or(0, str::len);
    }
    for (key, value) in entries(object, "binaryData") {
        named(errors, &Path::new("binaryData").key(key), key, config_map_key(key));
        total += decoded_len(value);
    }
    if total > MAX {
        errors.too_long(&Path::ROOT, MAX);
    }
}

/// The size of base64 content.
fn decoded_len(value: &Value) -> usize {
    let text = value.as_str().unwrap_or_default();
    text.trim_end_matches('=').len() * 3 / 4
}

/// A ConfigMap that was declared immutable.
pub(super) fn config_map_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    if !flag(old, "immutable") {
        return;
    }
    if !flag(new, "immutable") {
        errors.forbidden(&Path::new("immutable"), "field is immutable when `immutable` is set");
    }
    for key in ["data", "binaryData"] {
        if field(new, key) != field(old, key) {
            errors.forbidden(&Path::new(key), "field is immutable when `immutable` is set");
        }
    }
}

/// Secret, with the rules of its type.
pub(super) fn secret(object: &Value, errors: &mut FieldErrors) {
    let data = Path::new("data");
    let mut total = 0;
    for (key, value) in entries(object, "data") {
        named(errors, &data.key(key), key, config_map_key(key));
        total += decoded_len(value);
    }
    if total > MAX {
        errors.too_long(&data, MAX);
    }
    let has = |key: &str| entries(object, "data").any(|(k, _)| k == key);
    match text(object, "type") {
        "kubernetes.io/service-account-token" => {
            let account = at(object, &["metadata", "annotations", "kubernetes.io/service-account.name"]);
            if account.as_str().unwrap_or_default().is_empty() {
                errors.required(
                    &Path::new("metadata").child("annotations").key("kubernetes.io/service-account.name"),
                    "",
                );
            }
        }
        "kubernetes.io/dockercfg" => json_key(object, ".dockercfg", errors),
        "kubernetes.io/dockerconfigjson" => json_key(object, ".dockerconfigjson", errors),
        "kubernetes.io/basic-auth" if !has("username") && !has("password") => {
            errors.required(&data.key("username"), "");
            errors.required(&data.key("password"), "");
        }
        "kubernetes.io/ssh-auth" => {
            let key = at(object, &["data", "ssh-privatekey"]).as_str().unwrap_or_default();
            if key.is_empty() {
                errors.required(&data.key("ssh-privatekey"), "");
            }
        }
        "kubernetes.io/tls" => {
            for key in ["tls.crt", "tls.key"] {
                if !has(key) {
                    errors.required(&data.key(key), "");
                }
            }
        }
        _ => {}
    }
}

fn json_key(object: &Value, key: &str, errors: &mut FieldErrors) {
    let data = Path::new("data");
    match at(object, &["data", key]).as_str() {
        None => errors.required(&data.key(key), ""),
        Some(text) => {
            let bytes = STANDARD.decode(text).unwrap_or_default();
            let why = match serde_json::from_slice::<Value>(&bytes) {
                Ok(Value::Object(_) | Value::Null) => return,
                Ok(Value::Array(_)) => "json: cannot unmarshal array into Go value of type map[string]interface {}",
                Ok(Value::String(_)) => "json: cannot unmarshal string into Go value of type map[string]interface {}",
                Ok(Value::Bool(_)) => "json: cannot unmarshal bool into Go value of type map[string]interface {}",
                Ok(Value::Number(_)) => "json: cannot unmarshal number into Go value of type map[string]interface {}",
                Err(error) if error.is_eof() => "unexpected end of JSON input",
                Err(_) => "invalid character looking for beginning of value",
            };
            // The content is a secret: it is not repeated.
            errors.invalid(&data.key(key), "<secret contents redacted>", why);
        }
    }
}

/// A Secret's type is for ever; its data too when it was declared immutable.
pub(super) fn secret_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    immutable(errors, &Path::new("type"), field(new, "type"), field(old, "type"));
    if !flag(old, "immutable") {
        return;
    }
    if !flag(new, "immutable") {
        errors.forbidden(&Path::new("immutable"), "field is immutable when `immutable` is set");
    }
    if field(new, "data") != field(old, "data") {
        errors.forbidden(&Path::new("data"), "field is immutable when `immutable` is set");
    }
}

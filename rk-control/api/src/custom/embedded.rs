//! What objects within objects must be besides what their schema says.

use serde_json::{Map, Value};

use crate::meta::dns1035_label;
use crate::status::{FieldErrors, Path};
use crate::validate;

/// Judges version, kind and metadata.
pub(super) fn judge(object: &Map<String, Value>, path: &Path<'_>, errors: &mut FieldErrors) {
    for name in ["apiVersion", "kind"] {
        match object.get(name).map(|value| value.as_str().unwrap_or_default()) {
            None => errors.required(&path.child(name), ""),
            Some("") => errors.invalid(&path.child(name), "", "must not be empty"),
            Some(text) => identity(name, text, &path.child(name), errors),
        }
    }
    if let Some(metadata) = object.get("metadata") {
        validate::embedded_metadata(metadata, &path.child("metadata"), errors);
    }
}

/// The version or the kind of an object within an object.
fn identity(name: &str, text: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    if name == "apiVersion" {
        if text.matches('/').count() > 1 {
            errors.invalid(path, text, format!("unexpected GroupVersion string: {text}"));
        }
        return;
    }
    let broken = dns1035_label(&text.to_lowercase());
    if !broken.is_empty() {
        let why = format!("may have mixed case, but should otherwise match: {}", broken.join(","));
        errors.invalid(path, text, why);
    }
}

//! LabelSelector objects inside other objects.

use serde_json::Value;

use super::get::{empty, list, named, strings, text};
use super::metadata;
use crate::meta::{at, label_value, qualified_name};
use crate::status::{FieldErrors, Path};

/// Labels and expressions of a selector; null passes.
pub(super) fn label_selector(selector: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    metadata::labels(at(selector, &["matchLabels"]), &path.child("matchLabels"), errors);
    let path = path.child("matchExpressions");
    for (index, expression) in list(selector, "matchExpressions").iter().enumerate() {
        let path = path.index(index);
        match text(expression, "operator") {
            "In" | "NotIn" => {
                if empty(expression, "values") {
                    errors.required(&path.child("values"), "must be specified when `operator` is 'In' or 'NotIn'");
                }
            }
            "Exists" | "DoesNotExist" => {
                if !empty(expression, "values") {
                    errors.forbidden(
                        &path.child("values"),
                        "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                    );
                }
            }
            other => errors.invalid(&path.child("operator"), other, "not a valid selector operator"),
        }
        let key = text(expression, "key");
        named(errors, &path.child("key"), key, qualified_name(key));
        for (at, value) in strings(expression, "values").enumerate() {
            named(errors, &path.child("values").index(at), value, label_value(value));
        }
    }
}

/// Whether a selector says nothing.
pub(super) fn is_empty(selector: &Value) -> bool {
    empty(selector, "matchLabels") && empty(selector, "matchExpressions")
}

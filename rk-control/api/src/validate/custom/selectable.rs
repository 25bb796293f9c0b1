//! Fields of custom kinds that selectors may name (KEP-4358).

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::get::{field, list, text};
use super::field_path::follow;
use crate::meta::at;
use crate::status::{FieldErrors, Path};

/// Most fields of a version.
const MAX: usize = 8;

/// `selectableFields` of a version: plain values that its schema has, outside of the metadata.
pub(super) fn check(version: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let fields = list(version, "selectableFields");
    let path = path.child("selectableFields");
    if fields.is_empty() {
        return;
    }
    let Some(schema) = field(at(version, &["schema"]), "openAPIV3Schema") else {
        // Upstream's words say the opposite of what it asks for.
        let why = "may only be set when `version.schema.openAPIV3Schema` is not included";
        return errors.invalid(&path, "", why);
    };
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for (index, own) in fields.iter().enumerate() {
        let here = path.index(index);
        let here = here.child("jsonPath");
        let written = text(own, "jsonPath");
        if written.is_empty() {
            errors.required(&here, "");
            continue;
        }
        let place = match follow(written, schema, false) {
            Ok(place) => place,
            Err(why) => {
                errors.invalid(&here, written, format!("is an invalid path: {why}"));
                continue;
            }
        };
        if place.first == "metadata" {
            errors.invalid(&here, written, "must not point to fields in metadata");
        }
        if !matches!(text(place.schema, "type"), "string" | "boolean" | "integer") {
            let why = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
            errors.invalid(&here, written, why);
        }
        if !seen.insert(place.text) {
            errors.duplicate(&here, written);
        }
    }
    if seen.len() > MAX {
        errors.too_many(&path, seen.len(), MAX);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(paths: &[&str]) -> String {
        let spec = json!({"type": "object", "properties": {"color": {"type": "string"}, "sizes": {"type": "array"}}});
        let schema = json!({"properties": {"spec": spec, "metadata": {"type": "object", "properties": {"name": {"type": "string"}}}}});
        let fields: Vec<Value> = paths.iter().map(|path| json!({"jsonPath": path})).collect();
        let version = json!({"schema": {"openAPIV3Schema": schema}, "selectableFields": fields});
        let mut errors = FieldErrors::new();
        check(&version, &Path::new("v"), &mut errors);
        errors.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn plain_values_of_the_schema_may_be_selected() {
        assert_eq!(told(&[".spec.color"]), "");
        let place = "v.selectableFields[0].jsonPath";
        for (path, why) in [
            ("", "Required value"),
            (".spec.nope", "Invalid value: \".spec.nope\": is an invalid path: does not refer to a valid field"),
            (".spec['color']", "Invalid value: \".spec['color']\": is an invalid path: array notation is not allowed"),
            (".metadata.name", "Invalid value: \".metadata.name\": must not point to fields in metadata"),
        ] {
            assert_eq!(told(&[path]), format!("{place}: {why}"));
        }
        assert!(told(&[".spec.sizes"]).contains("must point to a field of type string, boolean or integer."));
        assert_eq!(
            told(&[".spec.color", ".spec.color"]),
            "v.selectableFields[1].jsonPath: Duplicate value: \".spec.color\""
        );
    }
}

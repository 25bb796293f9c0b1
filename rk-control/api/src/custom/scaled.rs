//! What the fields that a Scale shows must be, whatever the schema says of them.

use serde_json::Value;

use super::kind::ScalePaths;
use crate::patch::{go_type, shown};
use crate::status::{FieldErrors, Path};

/// Most replicas.
const MOST: i64 = 2_147_483_647;

/// Judges the replicas and the selector of an object.
pub(super) fn judge(paths: &ScalePaths, object: &Value, errors: &mut FieldErrors) {
    for steps in [&paths.spec, &paths.status] {
        let place = dotted(steps);
        let path = Path::new(&place);
        match found(object, steps, "int64").map(|value| value.and_then(Value::as_i64)) {
            Err(why) => errors.invalid(&path, 0, why),
            Ok(Some(replicas)) if replicas < 0 => errors.invalid(&path, replicas, "should be a non-negative integer"),
            Ok(Some(replicas)) if replicas > MOST => {
                errors.invalid(&path, replicas, format!("should be less than or equal to {MOST}"));
            }
            Ok(_) => {}
        }
    }
    if let Err(why) = found(object, &paths.selector, "string") {
        errors.invalid(&Path::new(&dotted(&paths.selector)), "", why);
    }
}

fn dotted(steps: &[String]) -> String {
    format!(".{}", steps.join("."))
}

/// The value at a path, which must be of a Go type; `None` where there is none.
fn found<'a>(object: &'a Value, steps: &[String], wanted: &str) -> Result<Option<&'a Value>, String> {
    let mut value = object;
    for (index, step) in steps.iter().enumerate() {
        let Some(members) = value.as_object() else {
            let place = dotted(steps.get(..=index).unwrap_or(steps));
            return if value.is_null() { Ok(None) } else { Err(unfit(&place, value, "map[string]interface{}")) };
        };
        let Some(inner) = members.get(step) else { return Ok(None) };
        value = inner;
    }
    // A kind without a selector has no path to it.
    match go_type(value) {
        _ if steps.is_empty() => Ok(None),
        ty if ty == wanted => Ok(Some(value)),
        _ => Err(unfit(&dotted(steps), value, wanted)),
    }
}

fn unfit(place: &str, value: &Value, wanted: &str) -> String {
    format!("{place} accessor error: {} is of the type {}, expected {wanted}", shown(value), go_type(value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn replicas_are_counts_and_selectors_texts() {
        let steps = |text: &str| text.split('.').map(str::to_owned).collect::<Vec<_>>();
        let paths = ScalePaths { spec: steps("spec.a"), status: steps("status.r"), selector: steps("status.sel") };
        for (object, want) in [
            (json!({"spec": {"a": 3}, "status": {"r": 0, "sel": "a=b"}}), ""),
            (json!({}), ""),
            (json!({"spec": null}), ""),
            (json!({"spec": {"a": -1}}), ".spec.a: Invalid value: -1: should be a non-negative integer"),
            (
                json!({"spec": {"a": 1.5}}),
                ".spec.a: Invalid value: 0: .spec.a accessor error: 1.5 is of the type float64, expected int64",
            ),
            (
                json!({"spec": "x"}),
                ".spec.a: Invalid value: 0: .spec.a accessor error: x is of the type string, expected map[string]interface{}",
            ),
            (
                json!({"status": {"r": 2_147_483_648_i64}}),
                ".status.r: Invalid value: 2147483648: should be less than or equal to 2147483647",
            ),
            (
                json!({"status": {"sel": 5}}),
                ".status.sel: Invalid value: \"\": .status.sel accessor error: 5 is of the type int64, expected string",
            ),
        ] {
            let mut errors = FieldErrors::new();
            judge(&paths, &object, &mut errors);
            let said: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
            assert_eq!(said.join("; "), want, "{object}");
        }
        let none = ScalePaths { selector: Vec::new(), ..paths };
        let mut errors = FieldErrors::new();
        judge(&none, &json!({"status": {"sel": 5}}), &mut errors);
        assert!(errors.is_empty(), "{errors:?}");
    }
}

//! What a custom object says at the places that its scale subresource shows.

use serde_json::Value;

use super::ScalePaths;
use crate::patch::{go_type, shown};
use crate::status::{FieldErrors, Path};

/// Holds an object against the rules of numbers of replicas, those that are wanted if `wanted` and those that are there, and of the selector.
pub(super) fn check(paths: &ScalePaths, object: &Value, wanted: bool, errors: &mut FieldErrors) {
    if wanted {
        number(&paths.spec, object, errors);
    }
    number(&paths.status, object, errors);
    let selector = if paths.selector.is_empty() { Ok(None) } else { found(&paths.selector, object) };
    let wrong = match selector {
        Ok(None | Some(Value::String(_))) => return,
        Ok(Some(other)) => unfit(&paths.selector, other, "string"),
        Err(why) => why,
    };
    errors.invalid(&Path::new(&place(&paths.selector)), "", wrong);
}

fn number(path: &[String], object: &Value, errors: &mut FieldErrors) {
    let number = found(path, object).and_then(|value| match value {
        None => Ok(0),
        Some(value) => value.as_i64().ok_or_else(|| unfit(path, value, "int64")),
    });
    let (value, why) = match number {
        Err(why) => (0, why),
        Ok(number) if number < 0 => (number, "should be a non-negative integer".to_owned()),
        Ok(number) if number > i64::from(i32::MAX) => (number, format!("should be less than or equal to {}", i32::MAX)),
        Ok(_) => return,
    };
    errors.invalid(&Path::new(&place(path)), value, why);
}

/// The value at a path, if there is one.
fn found<'a>(path: &[String], object: &'a Value) -> Result<Option<&'a Value>, String> {
    let mut value = object;
    for (depth, name) in path.iter().enumerate() {
        let members = match value {
            Value::Null => return Ok(None),
            Value::Object(members) => members,
            other => return Err(unfit(path.get(..=depth).unwrap_or(path), other, "map[string]interface{}")),
        };
        let Some(inner) = members.get(name) else { return Ok(None) };
        value = inner;
    }
    Ok(Some(value))
}

fn unfit(path: &[String], value: &Value, wanted: &str) -> String {
    let (place, sort) = (place(path), go_type(value));
    format!("{place} accessor error: {} is of the type {sort}, expected {wanted}", shown(value))
}

fn place(path: &[String]) -> String {
    format!(".{}", path.join("."))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn replicas_are_numbers_that_can_be_and_a_selector_is_a_text() {
        let path = |text: &str| -> Vec<String> { text.split('.').map(str::to_owned).collect() };
        let paths = ScalePaths {
            spec: path("spec.replicas"),
            status: path("status.replicas"),
            selector: path("status.chosen"),
        };
        let told = |object: Value, wanted: bool| -> Vec<String> {
            let mut errors = FieldErrors::new();
            check(&paths, &object, wanted, &mut errors);
            errors.0.iter().map(ToString::to_string).collect()
        };
        for object in [json!({}), json!({"spec": null}), json!({"spec": {"replicas": 3}, "status": {"chosen": "a=b"}})]
        {
            assert_eq!(told(object, true), [""; 0]);
        }
        for (spec, why) in [
            (json!({"replicas": -1}), ".spec.replicas: Invalid value: -1: should be a non-negative integer"),
            (
                json!({"replicas": 2_147_483_648_u32}),
                ".spec.replicas: Invalid value: 2147483648: should be less than or equal to 2147483647",
            ),
            (
                json!({"replicas": "x"}),
                ".spec.replicas: Invalid value: 0: .spec.replicas accessor error: x is of the type string, expected int64",
            ),
            (
                json!({"replicas": null}),
                ".spec.replicas: Invalid value: 0: .spec.replicas accessor error: <nil> is of the type <nil>, expected int64",
            ),
            (
                json!([]),
                ".spec.replicas: Invalid value: 0: .spec.replicas accessor error: [] is of the type []interface {}, \
                 expected map[string]interface{}",
            ),
        ] {
            assert_eq!(told(json!({"spec": spec}), true), [why]);
            assert_eq!(told(json!({"spec": spec}), false), [""; 0], "those wanted are not asked for");
        }
        assert_eq!(
            told(json!({"status": {"replicas": 1.5, "chosen": {"a": "b"}}}), false),
            [
                ".status.replicas: Invalid value: 0: .status.replicas accessor error: 1.5 is of the type float64, expected int64",
                ".status.chosen: Invalid value: \"\": .status.chosen accessor error: map[a:b] is of the type \
                 map[string]interface {}, expected string",
            ]
        );
    }
}

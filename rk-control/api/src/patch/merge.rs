//! RFC 7386.

use serde_json::{Value, json};

use super::PatchError;
use super::shown::{MAP, unfit};

/// Applies a merge patch in place: objects merge, null removes, everything else replaces.
///
/// # Errors
/// The patch is no object.
pub fn merge_patch(object: &mut Value, patch: &Value) -> Result<(), PatchError> {
    if patch.is_null() {
        return Err(PatchError::Malformed("Invalid JSON Patch".into()));
    }
    if !patch.is_object() {
        return Err(PatchError::Malformed(format!("error decoding patch: {}", unfit(patch, MAP))));
    }
    merge(object, patch);
    Ok(())
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Value::Object(target) = target else {
        return;
    };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cases of RFC 7386, appendix A, whose patch is an object.
    #[test]
    fn the_examples_of_the_standard_hold() {
        for (original, patch, want) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ] {
            let mut object = original;
            merge_patch(&mut object, &patch).unwrap();
            assert_eq!(object, want, "{patch}");
        }
        for (patch, want) in [
            (
                json!(["c"]),
                "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}",
            ),
            (json!(null), "Invalid JSON Patch"),
        ] {
            assert_eq!(merge_patch(&mut json!({}), &patch), Err(PatchError::Malformed(want.into())));
        }
    }
}

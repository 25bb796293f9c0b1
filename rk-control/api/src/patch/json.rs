//! RFC 6902.

use serde_json::Value;

use super::PatchError;
use super::shown::{unfit, unfit_field};

/// Most operations in one patch, as upstream.
const MAX_OPERATIONS: usize = 10_000;
/// What `copy` may add in all, in bytes of JSON, as upstream's limit on accumulated copies.
const MAX_COPIED: usize = 3 * 1024 * 1024;

/// What there is to be done.
const OPERATIONS: &[&str] = &["add", "remove", "replace", "move", "copy", "test"];
/// What an operation says.
const MEMBERS: &[&str] = &["op", "path", "from", "value"];

/// The paths of members that no operation has: `[0].foo`.
pub fn undeclared_members(patch: &Value) -> Vec<String> {
    let mut paths = Vec::new();
    for (place, operation) in patch.as_array().into_iter().flatten().enumerate() {
        let members = operation.as_object().into_iter().flat_map(|members| members.keys());
        let odd = members.filter(|name| !MEMBERS.contains(&name.as_str()));
        paths.extend(odd.map(|name| format!("[{place}].{name}")));
    }
    paths
}

/// Applies a JSON patch in place. On error the object is unchanged.
///
/// # Errors
/// A malformed operation, a path that is not there, a failed `test`.
pub fn json_patch(object: &mut Value, patch: &Value) -> Result<(), PatchError> {
    let operations = match patch {
        Value::Array(operations) => operations.as_slice(),
        // Nothing is a list of nothing.
        Value::Null => &[],
        _ => return Err(undecoded(patch, "[]handlers.jsonPatchOp")),
    };
    if let Some(odd) = operations.iter().find(|operation| !operation.is_object() && !operation.is_null()) {
        return Err(undecoded(odd, "handlers.jsonPatchOp"));
    }
    if let Some(why) = operations.iter().find_map(wordless) {
        return Err(PatchError::Malformed(format!("error decoding patch: {why}")));
    }
    if operations.len() > MAX_OPERATIONS {
        return Err(PatchError::TooLarge(format!(
            "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
            operations.len()
        )));
    }
    let mut result = object.clone();
    let mut copied = 0;
    for operation in operations {
        apply(&mut result, operation, &mut copied)?;
    }
    *object = result;
    Ok(())
}

/// What is wrong with an operation that has something other than text where there must be text.
fn wordless(operation: &Value) -> Option<String> {
    ["op", "from", "path"].into_iter().find_map(|member| {
        let value = operation.get(member).filter(|value| !value.is_string() && !value.is_null())?;
        Some(unfit_field(value, &format!("jsonPatchOp.{member}"), "string"))
    })
}

fn undecoded(value: &Value, wanted: &str) -> PatchError {
    PatchError::Malformed(format!("error decoding patch: {}", unfit(value, wanted)))
}

fn apply(document: &mut Value, operation: &Value, copied: &mut usize) -> Result<(), PatchError> {
    let op = operation.get("op").and_then(Value::as_str).unwrap_or("unknown");
    if !OPERATIONS.contains(&op) {
        return Err(PatchError::Unprocessable(format!("Unexpected kind: {op}")));
    }
    let member = |key: &str| {
        operation
            .get(key)
            .and_then(Value::as_str)
            .ok_or_else(|| PatchError::Unprocessable(format!("{op} operation failed to decode {key}: missing value")))
    };
    let value = || operation.get("value").cloned().unwrap_or(Value::Null);
    if matches!(op, "move" | "copy") {
        // Where it comes from is asked for first.
        member("from")?;
    }
    // Where a new element goes, its own step counts from behind the list; elsewhere it names an element that is there.
    let path = &forward(document, member("path")?, !matches!(op, "add" | "move" | "copy"));
    match op {
        "add" => add(document, path, value(), op),
        "remove" => remove(document, path, op).map(drop),
        "replace" => {
            *replaced(document, path)? = value();
            Ok(())
        }
        "move" => {
            let from = &forward(document, member("from")?, true);
            if path.strip_prefix(from.as_str()).is_some_and(|rest| rest.starts_with('/')) {
                return Err(PatchError::Unprocessable(format!(
                    "move operation does not apply: {path:?} lies inside {from:?}"
                )));
            }
            let taken = remove(document, from, op)?;
            add(document, path, taken, op)
        }
        "copy" => {
            let from = &forward(document, member("from")?, true);
            let found = document.pointer(&checked(from)?).ok_or_else(|| missing(op, from))?.clone();
            *copied += found.to_string().len();
            if *copied > MAX_COPIED {
                return Err(PatchError::TooLarge(format!(
                    "Unable to complete the copy, the accumulated size increase of copy is {copied}, exceeding the limit {MAX_COPIED}"
                )));
            }
            add(document, path, found, op)
        }
        _ => {
            let equal = same(tested(document, path)?, &value());
            if equal { Ok(()) } else { Err(PatchError::Untrue(format!("testing value {path} failed: test failed"))) }
        }
    }
}

/// What a `test` looks at: a member that an object lacks is null, but there must be an object, or an element of a list.
fn tested<'a>(document: &'a Value, path: &str) -> Result<&'a Value, PatchError> {
    let (parent, step) = split(path)?;
    match document.pointer(parent) {
        Some(Value::Object(members)) => Ok(members.get(&step).unwrap_or(&Value::Null)),
        Some(Value::Array(_)) => document.pointer(path).ok_or_else(|| missing("test", path)),
        _ => Err(missing("test", path)),
    }
}

/// What a `replace` writes over: a member that an object lacks is made, other than the standard says and as upstream does.
fn replaced<'a>(document: &'a mut Value, path: &str) -> Result<&'a mut Value, PatchError> {
    if path.is_empty() {
        return Ok(document);
    }
    let (parent, step) = split(path)?;
    let missing = |what: &str| {
        let why = format!("replace operation does not apply: doc is missing {what}: {path}: missing value");
        PatchError::Unprocessable(why)
    };
    match document.pointer_mut(parent) {
        Some(Value::Object(members)) => Ok(members.entry(step).or_insert(Value::Null)),
        Some(list) if list.is_array() => list.pointer_mut(&path[parent.len()..]).ok_or_else(|| missing("key")),
        _ => Err(missing("path")),
    }
}

/// JSON equality: numbers by value, not by spelling.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, value)| b.get(key).is_some_and(|other| same(value, other)))
        }
        _ => a == b,
    }
}

fn missing(op: &str, path: &str) -> PatchError {
    PatchError::Unprocessable(format!("{op} operation does not apply: doc is missing key: {path}: missing value"))
}

/// The path with indexes that count from the end of a list (`-1` is the last element) in their usual form. The last step is left
/// alone unless `whole`.
fn forward(document: &Value, path: &str, whole: bool) -> String {
    if !path.contains("/-") {
        return path.to_owned();
    }
    let (mut place, mut out) = (Some(document), String::new());
    let mut steps = path.split('/').skip(1).peekable();
    while let Some(step) = steps.next() {
        let list = place.and_then(Value::as_array).filter(|_| whole || steps.peek().is_some());
        let back = step.strip_prefix('-').and_then(|digits| digits.parse::<usize>().ok()).filter(|back| *back > 0);
        let step = match list.zip(back).and_then(|(list, back)| list.len().checked_sub(back)) {
            Some(index) => index.to_string(),
            None => step.to_owned(),
        };
        place = place.and_then(|value| value.pointer(&format!("/{step}")));
        out.push('/');
        out.push_str(&step);
    }
    out
}

/// A pointer that `serde_json` understands, or the words for one that is none.
fn checked(path: &str) -> Result<String, PatchError> {
    if path.is_empty() || path.starts_with('/') {
        Ok(path.to_owned())
    } else {
        Err(PatchError::Unprocessable(format!("invalid path {path:?}: a path starts with '/'")))
    }
}

/// The parent's pointer and the last step.
fn split(path: &str) -> Result<(&str, String), PatchError> {
    let (parent, last) = path
        .rsplit_once('/')
        .ok_or_else(|| PatchError::Unprocessable(format!("invalid path {path:?}: a path starts with '/'")))?;
    Ok((parent, last.replace("~1", "/").replace("~0", "~")))
}

/// An index into an array of this length; `limit` is the greatest allowed.
fn index(step: &str, limit: usize, op: &str, path: &str) -> Result<usize, PatchError> {
    let plain = step == "0" || !step.starts_with(['0', '+']);
    if let Some(back) = step.strip_prefix('-').and_then(|digits| digits.parse::<usize>().ok()).filter(|back| *back > 0)
        && let Some(at) = (limit + 1).checked_sub(back)
    {
        return Ok(at);
    }
    step.parse::<usize>().ok().filter(|i| plain && *i <= limit).ok_or_else(|| {
        PatchError::Unprocessable(format!(
            "{op} operation does not apply: doc is missing path: {path:?}: invalid index referenced"
        ))
    })
}

fn add(document: &mut Value, path: &str, value: Value, op: &str) -> Result<(), PatchError> {
    if path.is_empty() {
        *document = value;
        return Ok(());
    }
    let (parent, step) = split(path)?;
    match document.pointer_mut(parent) {
        Some(Value::Object(object)) => drop(object.insert(step, value)),
        Some(Value::Array(array)) if step == "-" => array.push(value),
        Some(Value::Array(array)) => array.insert(index(&step, array.len(), op, path)?, value),
        _ => {
            return Err(PatchError::Unprocessable(format!(
                "{op} operation does not apply: doc is missing path: {path:?}: missing value"
            )));
        }
    }
    Ok(())
}

fn remove(document: &mut Value, path: &str, op: &str) -> Result<Value, PatchError> {
    let (parent, step) = split(path)?;
    match document.pointer_mut(parent) {
        Some(Value::Object(object)) => object.remove(&step).ok_or_else(|| missing(op, path)),
        Some(Value::Array(array)) => {
            let last = array.len().checked_sub(1).ok_or_else(|| missing(op, path))?;
            Ok(array.remove(index(&step, last, op, path)?))
        }
        _ => Err(missing(op, path)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn operations_do_what_the_standard_says() {
        for (original, patch, want) in [
            (json!({"a": 1}), json!([{"op": "add", "path": "/b", "value": 2}]), json!({"a": 1, "b": 2})),
            (json!({"a": [1, 3]}), json!([{"op": "add", "path": "/a/1", "value": 2}]), json!({"a": [1, 2, 3]})),
            (json!({"a": [1]}), json!([{"op": "add", "path": "/a/-", "value": 2}]), json!({"a": [1, 2]})),
            (json!({"a": [1, 2]}), json!([{"op": "remove", "path": "/a/0"}]), json!({"a": [2]})),
            (json!({"a": 1}), json!([{"op": "replace", "path": "/a", "value": {"x": 1}}]), json!({"a": {"x": 1}})),
            (json!({"a": {}}), json!([{"op": "replace", "path": "/a/b~1c", "value": 1}]), json!({"a": {"b/c": 1}})),
            (json!({"a": [1]}), json!([{"op": "replace", "path": "/a/0", "value": 2}]), json!({"a": [2]})),
            (json!({"a": 1}), json!([{"op": "replace", "path": "", "value": {"z": 1}}]), json!({"z": 1})),
            (json!({"a": 1}), json!([{"op": "move", "from": "/a", "path": "/b"}]), json!({"b": 1})),
            (
                json!({"a": {"x": 1}}),
                json!([{"op": "copy", "from": "/a", "path": "/b"}]),
                json!({"a": {"x": 1}, "b": {"x": 1}}),
            ),
            (
                json!({"a/b": 1, "c~d": 2}),
                json!([{"op": "remove", "path": "/a~1b"}, {"op": "test", "path": "/c~0d", "value": 2.0}]),
                json!({"c~d": 2}),
            ),
            (json!({"a": [1, 2]}), json!([{"op": "add", "path": "/a/-1", "value": 3}]), json!({"a": [1, 2, 3]})),
            (json!({"a": [1, 2]}), json!([{"op": "add", "path": "/a/-2", "value": 3}]), json!({"a": [1, 3, 2]})),
            (json!({"a": [1, 2]}), json!([{"op": "remove", "path": "/a/-2"}]), json!({"a": [2]})),
            (json!({"a": [1, 2]}), json!([{"op": "replace", "path": "/a/-1", "value": 9}]), json!({"a": [1, 9]})),
            (
                json!({"a": [{"b": 1}]}),
                json!([{"op": "add", "path": "/a/-1/c", "value": 2}]),
                json!({"a": [{"b": 1, "c": 2}]}),
            ),
            (
                json!({"a": [1, 2]}),
                json!([{"op": "test", "path": "/a/-1", "value": 2}, {"op": "move", "from": "/a/-1", "path": "/b"}]),
                json!({"a": [1], "b": 2}),
            ),
            (json!({"a": 1}), json!([{"op": "add", "path": "", "value": {"z": 1}}]), json!({"z": 1})),
            (json!({"a": 1}), json!([{"op": "test", "path": "/b", "value": null}]), json!({"a": 1})),
            (json!({"a": 1}), json!(null), json!({"a": 1})),
        ] {
            let mut object = original;
            json_patch(&mut object, &patch).unwrap();
            assert_eq!(object, want, "{patch}");
        }
    }

    #[test]
    fn a_patch_that_does_not_fit_changes_nothing() {
        for (patch, want) in [
            (
                json!([{"op": "add", "path": "/x", "value": 1}, {"op": "test", "path": "/a", "value": 9}]),
                "testing value /a failed: test failed",
            ),
            (
                json!([{"op": "remove", "path": "/q"}]),
                "remove operation does not apply: doc is missing key: /q: missing value",
            ),
            (
                json!([{"op": "replace", "path": "/q/r", "value": 1}]),
                "replace operation does not apply: doc is missing path: /q/r: missing value",
            ),
            (
                json!([{"op": "replace", "path": "/l/0", "value": 1}]),
                "replace operation does not apply: doc is missing key: /l/0: missing value",
            ),
            (
                json!([{"op": "add", "path": "/q/r", "value": 1}]),
                "add operation does not apply: doc is missing path: \"/q/r\": missing value",
            ),
            (
                json!([{"op": "add", "path": "/l/5", "value": 1}]),
                "add operation does not apply: doc is missing path: \"/l/5\": invalid index referenced",
            ),
            (
                json!([{"op": "add", "path": "/l/-2", "value": 1}]),
                "add operation does not apply: doc is missing path: \"/l/-2\": invalid index referenced",
            ),
            (
                json!([{"op": "test", "path": "/a/b", "value": null}]),
                "test operation does not apply: doc is missing key: /a/b: missing value",
            ),
            (
                json!([{"op": "test", "path": "/q/r", "value": null}]),
                "test operation does not apply: doc is missing key: /q/r: missing value",
            ),
            (
                json!([{"op": "test", "path": "/l/0", "value": null}]),
                "test operation does not apply: doc is missing key: /l/0: missing value",
            ),
            (
                json!([{"op": "move", "from": "/m", "path": "/m/n"}]),
                "move operation does not apply: \"/m/n\" lies inside \"/m\"",
            ),
        ] {
            let mut object = json!({"a": 1, "l": [], "m": {}});
            let error = json_patch(&mut object, &patch).unwrap_err();
            assert_eq!(error.to_string(), want);
            assert_eq!(object, json!({"a": 1, "l": [], "m": {}}));
        }
    }

    #[test]
    fn members_that_no_operation_has_are_named() {
        let patch = json!([{"op": "test", "path": "/a", "value": {"x": 1}}, {"op": "remove", "path": "/a", "why": 1}]);
        assert_eq!(undeclared_members(&patch), ["[1].why"]);
        assert!(undeclared_members(&json!({"why": 1})).is_empty());
    }

    #[test]
    fn malformed_and_oversized_patches_are_refused() {
        let mut object = json!({"a": "x".repeat(1000)});
        assert_eq!(json_patch(&mut object, &Value::Null), Ok(()), "nothing to be done");
        for (patch, wanted) in [
            (json!({}), "cannot unmarshal object into Go value of type []handlers.jsonPatchOp"),
            (json!([1]), "cannot unmarshal number into Go value of type handlers.jsonPatchOp"),
        ] {
            let want = PatchError::Malformed(format!("error decoding patch: json: {wanted}"));
            assert_eq!(json_patch(&mut object, &patch), Err(want));
        }
        let want =
            "error decoding patch: json: cannot unmarshal number into Go struct field jsonPatchOp.path of type string";
        let refused = json_patch(&mut object, &json!([{"op": "add", "path": 1, "value": 1}]));
        assert_eq!(refused, Err(PatchError::Malformed(want.to_owned())));
        for (operation, want) in [
            (json!({"path": "/a"}), "Unexpected kind: unknown"),
            (json!({"op": "frob", "path": "/a"}), "Unexpected kind: frob"),
            (json!({"op": "move", "path": "/a"}), "move operation failed to decode from: missing value"),
            (json!({"op": "add", "value": 1}), "add operation failed to decode path: missing value"),
        ] {
            let refused = json_patch(&mut object, &json!([operation]));
            assert_eq!(refused, Err(PatchError::Unprocessable(want.into())));
        }
        let many = Value::Array(vec![json!({"op": "test", "path": "/b", "value": null}); MAX_OPERATIONS + 1]);
        assert!(matches!(json_patch(&mut object, &many), Err(PatchError::TooLarge(_))));
        let growing =
            Value::Array((0..40).map(|i| json!({"op": "copy", "from": "", "path": format!("/c{i}")})).collect());
        assert!(matches!(json_patch(&mut object, &growing), Err(PatchError::TooLarge(_))));
    }
}

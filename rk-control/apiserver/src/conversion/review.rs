//! ConversionReview: the question to a conversion webhook, and its answer. Pure.

use rk_api::patch::go_type;
use rk_api::status::{FieldErrors, Path};
use rk_api::{meta, validate};
use serde_json::{Value, json};

use crate::callout::CONVERSION;

/// The question: these objects, in that version. They come without the version at which they are stored.
pub(super) fn question(version: &str, uid: &str, wanted: &str, objects: &[&Value]) -> Value {
    let mut objects: Vec<Value> = objects.iter().map(|object| (*object).clone()).collect();
    for metadata in objects.iter_mut().filter_map(|object| object.get_mut("metadata")?.as_object_mut()) {
        metadata.remove("resourceVersion");
    }
    json!({
        "kind": "ConversionReview", "apiVersion": format!("apiextensions.k8s.io/{version}"),
        "request": {"uid": uid, "desiredAPIVersion": wanted, "objects": objects},
        "response": {"uid": "", "convertedObjects": null, "result": {"metadata": {}}},
    })
}

/// The converted objects. What identifies an object is taken from the one that was sent; labels and annotations may change.
///
/// # Errors
/// What is wrong with the answer, in upstream's words, as they go on after the name of the kind.
pub(super) fn answer(
    review: &Value,
    (version, uid): (&str, &str),
    wanted: &str,
    asked: &[&Value],
) -> Result<Vec<Value>, String> {
    let response = response(review, version, uid).map_err(|why| format!("failed: {why}"))?;
    let converted = meta::at(response, &["convertedObjects"]).as_array().cloned().unwrap_or_default();
    if converted.len() != asked.len() {
        return Err(format!("returned {} objects, expected {}", converted.len(), asked.len()));
    }
    let pairs = converted.into_iter().zip(asked).enumerate();
    pairs.map(|(index, (object, sent))| checked(object, sent, wanted, index)).collect()
}

/// The response in an answer, which must be of the question and tell of success.
fn response<'a>(review: &'a Value, version: &str, uid: &str) -> Result<&'a Value, String> {
    let got = (meta::text(review, &["apiVersion"]), meta::text(review, &["kind"]));
    let wrong = CONVERSION.undecodable(got, version).or_else(|| CONVERSION.unexpected(got, version));
    if let Some(why) = wrong {
        return Err(why);
    }
    let response = meta::at(review, &["response"]);
    if !response.is_object() {
        return Err("no response provided".to_owned());
    }
    let own = meta::text(response, &["uid"]);
    if version == "v1" && own != uid {
        return Err(format!("expected response.uid={uid:?}, got {own:?}"));
    }
    if meta::text(response, &["result", "status"]) != "Success" {
        let (said, status) =
            (meta::text(response, &["result", "message"]), meta::text(response, &["result", "status"]));
        let unsaid = || format!("response.result.status was '{status}', not 'Success'");
        return Err(if said.is_empty() { unsaid() } else { said.to_owned() });
    }
    Ok(response)
}

fn checked(mut object: Value, sent: &Value, wanted: &str, index: usize) -> Result<Value, String> {
    let invalid = |why: String| format!("returned invalid object at index {index}: invalid {why}");
    let version = meta::text(&object, &["apiVersion"]);
    if version != wanted {
        return Err(invalid(format!("groupVersion (expected {wanted}, received {version})")));
    }
    let (kind, own) = (meta::text(&object, &["kind"]), meta::text(sent, &["kind"]));
    if kind != own {
        return Err(invalid(format!("kind (expected {own}, received {kind})")));
    }
    for (field, called) in [("name", "name"), ("namespace", "namespace"), ("uid", "UID")] {
        let (got, own) = (meta::text(&object, &["metadata", field]), meta::text(sent, &["metadata", field]));
        if got != own {
            return Err(format!("returned invalid object: must have the same {called}: {own} != {got}"));
        }
    }
    let metadata = restored(meta::at(&object, &["metadata"]), meta::at(sent, &["metadata"]));
    object["metadata"] = metadata.map_err(|why| format!("returned invalid metadata: {why}"))?;
    Ok(object)
}

/// Rules that changed labels or annotations must keep.
type Rules = fn(&Value, &Path<'_>, &mut FieldErrors);

/// Where labels and annotations are, where messages say that they are, and their rules.
const GIVEN: [(&str, &str, Rules); 2] =
    [("labels", "labels", validate::labels), ("annotations", "annotation", validate::annotations)];

/// The metadata that was sent, with the labels and annotations that came back.
fn restored(given: &Value, sent: &Value) -> Result<Value, String> {
    let Some(mut metadata) = sent.as_object().cloned() else { return Ok(sent.clone()) };
    for (field, shown, rules) in GIVEN {
        let back = meta::at(given, &[field]);
        let entries = match back {
            Value::Null => {
                metadata.remove(field);
                continue;
            }
            Value::Object(entries) => entries,
            other => return Err(format!("invalid metadata.{field} of type {} in converted object", go_type(other))),
        };
        if let Some((key, value)) = entries.iter().find(|(_, value)| !value.is_string()) {
            let ty = go_type(value);
            return Err(format!("metadata.{field}[{key}] must be a string, but is {ty} in converted object"));
        }
        // What was stored once may break the rules of now.
        if metadata.get(field) != Some(back) {
            let mut errors = FieldErrors::new();
            rules(back, &Path::new("metadata").child(shown), &mut errors);
            together(&errors)?;
        }
        metadata.insert(field.to_owned(), back.clone());
    }
    Ok(Value::Object(metadata))
}

/// All errors as one.
fn together(errors: &FieldErrors) -> Result<(), String> {
    let said: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
    match said.as_slice() {
        [] => Ok(()),
        [only] => Err(only.clone()),
        all => Err(format!("[{}]", all.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(version: &str) -> Value {
        json!({"apiVersion": version, "kind": "K", "metadata": {"name": "a", "uid": "1", "resourceVersion": "7", "labels": {"a": "b"}}})
    }

    fn review(response: Value) -> Value {
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "response": response})
    }

    fn response(objects: Value) -> Value {
        review(json!({"uid": "u", "result": {"status": "Success"}, "convertedObjects": objects}))
    }

    #[test]
    fn a_question_tells_no_resource_version() {
        let sent = object("g/v1");
        let asked = question("v1", "u", "g/v2", &[&sent]);
        assert_eq!(asked["request"]["objects"][0]["metadata"], json!({"name": "a", "uid": "1", "labels": {"a": "b"}}));
    }

    #[test]
    fn an_answer_has_the_same_objects_in_the_version_that_was_asked_for() {
        let sent = object("g/v1");
        let of = |review: &Value| answer(review, ("v1", "u"), "g/v2", &[&sent]);
        let read = |objects: Value| of(&response(objects));
        let mut given = object("g/v2");
        given["metadata"] = json!({"name": "a", "uid": "1", "annotations": {"x": "y"}});
        let converted = read(json!([given])).unwrap().remove(0);
        assert_eq!(
            converted["metadata"],
            json!({"name": "a", "uid": "1", "resourceVersion": "7", "annotations": {"x": "y"}})
        );
        assert!(read(json!([])).unwrap_err().contains("returned 0 objects, expected 1"));
        assert!(read(json!([object("g/v1")])).unwrap_err().contains("invalid object at index 0: invalid groupVersion"));
        let with = |field: &str, value: Value| {
            let mut other = object("g/v2");
            other["metadata"][field] = value;
            read(json!([other])).unwrap_err()
        };
        assert_eq!(with("name", json!("b")), "returned invalid object: must have the same name: a != b");
        let number = "returned invalid metadata: metadata.labels[a] must be a string, but is int64 in converted object";
        assert_eq!(with("labels", json!({"a": 5})), number);
        let list = "returned invalid metadata: invalid metadata.labels of type []interface {} in converted object";
        assert_eq!(with("labels", json!([])), list);
        let said = with("annotations", json!({"a b": ""}));
        assert!(said.starts_with("returned invalid metadata: metadata.annotation: Invalid value: \"a b\""), "{said}");
        assert!(with("labels", json!({"a b": "!"})).contains("metadata: [metadata.labels: "));
        let refused = review(json!({"uid": "u", "result": {"status": "Failure", "message": "cannot"}}));
        assert_eq!(of(&refused).unwrap_err(), "failed: cannot");
        let silent = review(json!({"uid": "u", "result": {"status": "Failure"}}));
        let want = "failed: response.result.status was 'Failure', not 'Success'";
        assert_eq!(of(&silent).unwrap_err(), want);
        let nothing =
            "failed: expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got /, Kind=";
        assert_eq!(of(&json!({})).unwrap_err(), nothing);
    }
}

//! ConversionReview: the question to a conversion webhook, and its answer. Pure.

use rk_api::meta;
use serde_json::{Value, json};

/// The question: these objects, in that version.
pub(super) fn question(version: &str, uid: &str, wanted: &str, objects: &[&Value]) -> Value {
    json!({
        "kind": "ConversionReview", "apiVersion": format!("apiextensions.k8s.io/{version}"),
        "request": {"uid": uid, "desiredAPIVersion": wanted, "objects": objects},
    })
}

/// The converted objects. What identifies an object is taken from the one that was sent; labels and annotations may change.
///
/// # Errors
/// What is wrong with the answer, in upstream's words, as they go on after the name of the kind.
pub(super) fn answer(review: &Value, uid: &str, wanted: &str, asked: &[&Value]) -> Result<Vec<Value>, String> {
    let response = response(review, uid).map_err(|why| format!("failed: {why}"))?;
    let converted = meta::at(response, &["convertedObjects"]).as_array().cloned().unwrap_or_default();
    if converted.len() != asked.len() {
        return Err(format!("returned {} objects, expected {}", converted.len(), asked.len()));
    }
    let pairs = converted.into_iter().zip(asked).enumerate();
    pairs.map(|(index, (object, sent))| checked(object, sent, wanted).map_err(|why| at(index, &why))).collect()
}

/// The response in an answer, which must be of the question and tell of success.
fn response<'a>(review: &'a Value, uid: &str) -> Result<&'a Value, String> {
    let response = meta::at(review, &["response"]);
    if !response.is_object() {
        return Err("no response provided".to_owned());
    }
    let own = meta::text(response, &["uid"]);
    if own != uid {
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

fn at(index: usize, why: &str) -> String {
    format!("returned invalid converted object at index {index}: {why}")
}

fn checked(mut object: Value, sent: &Value, wanted: &str) -> Result<Value, String> {
    let version = meta::text(&object, &["apiVersion"]);
    if version != wanted {
        return Err(format!("invalid groupVersion (expected {wanted}, received {version})"));
    }
    let (kind, own) = (meta::text(&object, &["kind"]), meta::text(sent, &["kind"]));
    if kind != own {
        return Err(format!("invalid kind (expected {own}, received {kind})"));
    }
    for (field, called) in [("name", "name"), ("namespace", "namespace"), ("uid", "UID")] {
        let (got, own) = (meta::text(&object, &["metadata", field]), meta::text(sent, &["metadata", field]));
        if got != own {
            return Err(format!("must have the same {called}: {own} != {got}"));
        }
    }
    let mut metadata = meta::at(sent, &["metadata"]).clone();
    for field in ["labels", "annotations"] {
        match (meta::at(&object, &["metadata", field]), metadata.as_object_mut()) {
            (Value::Null, Some(metadata)) => drop(metadata.remove(field)),
            (given, Some(metadata)) => drop(metadata.insert(field.to_owned(), given.clone())),
            _ => {}
        }
    }
    object["metadata"] = metadata;
    Ok(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(version: &str) -> Value {
        json!({"apiVersion": version, "kind": "K", "metadata": {"name": "a", "uid": "1", "resourceVersion": "7", "labels": {"a": "b"}}})
    }

    fn response(objects: Value) -> Value {
        json!({"response": {"uid": "u", "result": {"status": "Success"}, "convertedObjects": objects}})
    }

    #[test]
    fn an_answer_has_the_same_objects_in_the_version_that_was_asked_for() {
        let sent = object("g/v1");
        let read = |objects: Value| answer(&response(objects), "u", "g/v2", &[&sent]);
        let mut given = object("g/v2");
        given["metadata"] = json!({"name": "a", "uid": "1", "annotations": {"x": "y"}});
        let converted = read(json!([given])).unwrap().remove(0);
        assert_eq!(
            converted["metadata"],
            json!({"name": "a", "uid": "1", "resourceVersion": "7", "annotations": {"x": "y"}})
        );
        assert!(read(json!([])).unwrap_err().contains("returned 0 objects, expected 1"));
        assert!(read(json!([object("g/v1")])).unwrap_err().contains("invalid groupVersion"));
        let mut other = object("g/v2");
        other["metadata"]["name"] = json!("b");
        assert!(read(json!([other])).unwrap_err().contains("index 0: must have the same name: a != b"));
        let refused = json!({"response": {"uid": "u", "result": {"status": "Failure", "message": "cannot"}}});
        assert_eq!(answer(&refused, "u", "g/v2", &[&sent]).unwrap_err(), "failed: cannot");
        let silent = json!({"response": {"uid": "u", "result": {"status": "Failure"}}});
        let want = "failed: response.result.status was 'Failure', not 'Success'";
        assert_eq!(answer(&silent, "u", "g/v2", &[&sent]).unwrap_err(), want);
    }
}

//! The OpenAPI v2 document in protobuf out of its text, which is never a value as a whole: that would take twenty times its size.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use serde_json::{Error, Map, Value};

use super::v2;

/// Encodes the text of a document, one definition and one path at a time: what is written one after the other reads as one document.
///
/// # Errors
/// The text is not a JSON object, or its definitions or paths are none.
pub fn encode(text: &str) -> Result<Vec<u8>, Error> {
    let document: BTreeMap<String, &RawValue> = serde_json::from_str(text)?;
    let mut out = Vec::new();
    let mut rest = Map::new();
    for (name, part) in document {
        match name.as_str() {
            "definitions" | "paths" => members(&name, part.get(), &mut out)?,
            _ => drop(rest.insert(name, serde_json::from_str(part.get())?)),
        }
    }
    out.extend(v2::encode(&Value::Object(rest)));
    Ok(out)
}

fn members(name: &str, text: &str, out: &mut Vec<u8>) -> Result<(), Error> {
    let members: BTreeMap<String, &RawValue> = serde_json::from_str(text)?;
    for (key, member) in members {
        let member: Value = serde_json::from_str(member.get())?;
        let one = Value::Object(Map::from_iter([(key, member)]));
        out.extend(v2::encode(&Value::Object(Map::from_iter([(name.to_owned(), one)]))));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn parts_are_written_one_after_the_other() {
        let document = json!({"swagger": "2.0", "definitions": {"a": {"type": "object"}, "b": {"type": "string"}},
            "paths": {"/x": {"get": {"operationId": "x"}}}});
        let parts = [
            json!({"definitions": {"a": {"type": "object"}}}),
            json!({"definitions": {"b": {"type": "string"}}}),
            json!({"paths": {"/x": {"get": {"operationId": "x"}}}}),
            json!({"swagger": "2.0"}),
        ];
        let wanted: Vec<u8> = parts.iter().flat_map(v2::encode).collect();
        assert_eq!(encode(&document.to_string()).unwrap(), wanted);
        assert!(encode("[]").is_err() && encode("{\"paths\": 1}").is_err());
    }
}

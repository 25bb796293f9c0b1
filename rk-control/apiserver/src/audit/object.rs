//! Bodies of requests and answers, as events show them. Pure.

use rk_api::decode::{self, Limits};
use serde_json::Value;

/// Longest answer that is shown, in bytes; a longer one is left out.
pub(super) const MOST_SHOWN: usize = 3 * 1024 * 1024;

/// What an answer says, if it says an object.
pub(super) fn of_answer(content_type: &str, body: &[u8]) -> Option<Value> {
    let limits = Limits { bytes: MOST_SHOWN, ..Limits::default() };
    match content_type.split(';').next().unwrap_or_default().trim() {
        "application/json" => serde_json::from_slice(body).ok(),
        "application/vnd.kubernetes.protobuf" => rk_api::proto::decode(body, None, limits).ok(),
        "application/yaml" => decode::untyped_yaml(body, limits).ok().map(|(object, _)| object),
        _ => None,
    }
}

/// Removes the managed fields of an object, of the items of a list and of the rows of a table.
pub(super) fn forget_managed(object: &mut Value) {
    forget(object);
    for item in object.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
        forget(item);
    }
    for row in object.get_mut("rows").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(object) = row.get_mut("object") {
            forget(object);
        }
    }
}

fn forget(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn answers_are_read_in_every_format() {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}});
        let proto = rk_api::proto::encode(&map).unwrap();
        let read = of_answer("application/vnd.kubernetes.protobuf", &proto).unwrap();
        assert_eq!([&read["kind"], &read["data"]], [&map["kind"], &map["data"]]);
        assert_eq!(of_answer("application/json;as=Table;v=v1", map.to_string().as_bytes()), Some(map));
        assert_eq!(of_answer("application/yaml", b"kind: ConfigMap\n"), Some(json!({"kind": "ConfigMap"})));
        assert_eq!(of_answer("text/plain", b"ok"), None);
        assert_eq!(of_answer("application/json", b"{"), None);
    }

    #[test]
    fn managed_fields_are_left_out_wherever_they_are() {
        let managed = || json!({"metadata": {"name": "a", "managedFields": [{}]}});
        let mut table =
            json!({"rows": [{"object": managed()}], "items": [managed()], "metadata": managed()["metadata"]});
        forget_managed(&mut table);
        assert!(!table.to_string().contains("managedFields"), "{table}");
        assert!(table.to_string().contains("\"name\":\"a\""), "{table}");
    }
}

//! Tables and metadata in the older version of their group.

use serde_json::{Value, json};

const V1: &str = "meta.k8s.io/v1";
const V1BETA1: &str = "meta.k8s.io/v1beta1";

/// Turns a Table, an object's metadata or a list of these from `meta.k8s.io/v1` into `v1beta1`, which has the same members.
pub fn to_v1beta1(shaped: &mut Value) {
    stamp(shaped);
    if let Some(items) = shaped.get_mut("items").and_then(Value::as_array_mut) {
        items.iter_mut().for_each(stamp);
    }
    if let Some(rows) = shaped.get_mut("rows").and_then(Value::as_array_mut) {
        rows.iter_mut().filter_map(|row| row.get_mut("object")).for_each(stamp);
    }
}

/// Whole objects in rows stay what they are.
fn stamp(value: &mut Value) {
    if value.get("apiVersion").and_then(Value::as_str) == Some(V1) {
        value["apiVersion"] = json!(V1BETA1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_of_the_group_changes_its_version() {
        let metadata = |version: &str| json!({"kind": "PartialObjectMetadata", "apiVersion": version, "metadata": {}});
        let pod = json!({"kind": "Pod", "apiVersion": "v1"});
        let table = |version: &str| {
            let rows =
                [json!({"object": metadata(version)}), json!({"object": pod}), json!({"object": null}), json!({})];
            json!({"kind": "Table", "apiVersion": version, "rows": rows})
        };
        let list = |version: &str| json!({"kind": "PartialObjectMetadataList", "apiVersion": version, "items": [metadata(version)]});
        for (mut shaped, want) in
            [(metadata(V1), metadata(V1BETA1)), (table(V1), table(V1BETA1)), (list(V1), list(V1BETA1))]
        {
            to_v1beta1(&mut shaped);
            assert_eq!(shaped, want);
        }
    }
}

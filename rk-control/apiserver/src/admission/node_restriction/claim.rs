//! What a kubelet may say of a PersistentVolumeClaim: how far its growth has come.

use rk_api::meta;
use rk_api::status::Status;
use serde_json::Value;

use super::super::{Operation, Request};

/// The fields of the status that a node writes.
const TOLD: [&str; 4] = ["capacity", "conditions", "allocatedResourceStatuses", "allocatedResources"];
/// What every write changes.
const WRITTEN: [&str; 2] = ["resourceVersion", "managedFields"];

pub(super) fn judge(request: &Request<'_>, node: &str, part: &str, object: Option<&Value>) -> Result<(), Status> {
    if part != "status" {
        return Err(request.forbid("may only update PVC status"));
    }
    let (Operation::Update, Some(new), Some(old)) = (request.operation, object, request.old) else {
        return Err(request.forbid("unexpected operation"));
    };
    let changed = changed(new, old);
    if changed.is_empty() {
        return Ok(());
    }
    let why = "is not allowed to update fields other than status.quantity and status.conditions";
    Err(request.forbid(&format!("node {node:?} {why}: {}", changed.join(", "))))
}

/// The members that differ and that a node may not change.
fn changed(new: &Value, old: &Value) -> Vec<String> {
    let parts: [(&str, &[&str]); 3] = [("metadata", &WRITTEN), ("spec", &[]), ("status", &TOLD)];
    let mut names = Vec::new();
    for (part, left_out) in parts {
        let (new, old) = (members(new, part, left_out), members(old, part, left_out));
        let added = new.iter().filter(|member| !old.contains(member));
        let lost = old.iter().filter(|member| !new.contains(member));
        names.extend(added.chain(lost).map(|(name, _)| format!("{part}.{name}")));
    }
    names.sort_unstable();
    names.dedup();
    names
}

/// The members of a part that hold anything.
fn members<'a>(object: &'a Value, part: &str, left_out: &[&str]) -> Vec<(&'a String, &'a Value)> {
    let members = meta::at(object, &[part]).as_object().into_iter().flatten();
    members.filter(|(name, value)| !left_out.contains(&name.as_str()) && !is_empty(value)).collect()
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_node_tells_how_far_a_claim_has_grown_and_no_more() {
        let claim = |labels: Value, status: Value| json!({"metadata": {"name": "c", "labels": labels}, "spec": {"volumeName": "v"}, "status": status});
        let old = claim(json!({}), json!({"phase": "Bound", "capacity": {"storage": "1Gi"}}));
        let grown = json!({"phase": "Bound", "capacity": {"storage": "2Gi"}, "conditions": [{"type": "Resizing"}],
            "allocatedResources": {"storage": "2Gi"}, "allocatedResourceStatuses": {"storage": "NodeResizePending"}});
        let mut written = claim(json!(null), grown);
        written["metadata"]["managedFields"] = json!([{"manager": "kubelet"}]);
        assert_eq!(changed(&written, &old), Vec::<String>::new());
        assert_eq!(
            changed(&claim(json!({"a": "b"}), json!({"phase": "Lost"})), &old),
            ["metadata.labels", "status.phase"]
        );
        assert_eq!(changed(&old, &claim(json!({"a": "b"}), json!({"phase": "Bound"}))), ["metadata.labels"]);
        let mut moved = old.clone();
        moved["spec"]["volumeName"] = json!("w");
        assert_eq!(changed(&moved, &old), ["spec.volumeName"]);
    }
}

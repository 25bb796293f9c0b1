//! Reconciling the default policy: missing objects are made, missing rules and subjects are added, nothing is taken away.

use std::sync::Arc;

use rk_api::meta;
use rk_api::status::{Reason, Status};
use serde_json::Value;

use super::{Wanted, ensure_all, replace};
use crate::authz::policy;
use crate::server::Core;

const GROUP: &str = "rbac.authorization.k8s.io";

pub(super) async fn reconcile(core: &Arc<Core>) -> Result<(), Status> {
    let mut missing: Vec<Wanted> = Vec::new();
    for (plural, wanted) in policy::objects() {
        let (namespace, name) = (meta::namespace(&wanted), meta::name(&wanted));
        match core.object(GROUP, "v1", plural, namespace, name).await? {
            None => missing.push((GROUP, "v1", plural, wanted)),
            Some(present) => {
                if let Some(repaired) = repair(&present, &wanted) {
                    put_back(core, plural, &repaired).await?;
                }
            }
        }
    }
    ensure_all(core, missing).await
}

/// Writes a repaired object; a conflict says that somebody else repaired it at the same moment.
async fn put_back(core: &Arc<Core>, plural: &str, repaired: &Value) -> Result<(), Status> {
    match replace(core, GROUP, "v1", plural, repaired).await {
        Err(status) if status.reason == Reason::Conflict => Ok(()),
        other => other,
    }
}

/// The object with what it lacks; `None` when it lacks nothing or must be left alone.
fn repair(present: &Value, wanted: &Value) -> Option<Value> {
    if meta::at(present, &["metadata", "annotations", policy::AUTOUPDATE]).as_str() != Some("true") {
        return None;
    }
    let mut repaired = present.clone();
    // The rules of an aggregating role follow from its parts.
    let lists: &[&str] = if wanted.get("aggregationRule").is_some() { &["subjects"] } else { &["rules", "subjects"] };
    for list in lists {
        let Some(entries) = wanted.get(*list).and_then(Value::as_array) else { continue };
        let mut own = present.get(*list).and_then(Value::as_array).cloned().unwrap_or_default();
        let before = own.len();
        own.extend(entries.iter().filter(|entry| !present_in(present, list, entry)).cloned());
        if own.len() > before {
            repaired[*list] = Value::Array(own);
        }
    }
    for field in ["labels", "annotations"] {
        for (key, value) in meta::at(wanted, &["metadata", field]).as_object().into_iter().flatten() {
            if meta::at(present, &["metadata", field, key]).is_null() {
                repaired["metadata"][field][key.as_str()] = value.clone();
            }
        }
    }
    (repaired != *present).then_some(repaired)
}

fn present_in(object: &Value, list: &str, entry: &Value) -> bool {
    object.get(list).and_then(Value::as_array).is_some_and(|own| own.contains(entry))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn role(rules: Value) -> Value {
        json!({"metadata": {"name": "r", "annotations": {policy::AUTOUPDATE: "true"}}, "rules": rules})
    }

    #[test]
    fn missing_rules_come_back_and_added_ones_stay() {
        let wanted = role(json!([{"verbs": ["get"]}, {"verbs": ["list"]}]));
        let present = role(json!([{"verbs": ["get"]}, {"verbs": ["own"]}]));
        let repaired = repair(&present, &wanted).unwrap();
        assert_eq!(repaired["rules"], json!([{"verbs": ["get"]}, {"verbs": ["own"]}, {"verbs": ["list"]}]));
        assert_eq!(repair(&repaired, &wanted), None);
    }

    #[test]
    fn an_object_that_opted_out_is_left_alone() {
        let wanted = role(json!([{"verbs": ["get"]}]));
        let mut present = role(json!([]));
        present["metadata"]["annotations"][policy::AUTOUPDATE] = json!("false");
        assert_eq!(repair(&present, &wanted), None);
    }
}

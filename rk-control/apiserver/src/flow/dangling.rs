//! The `Dangling` condition of a FlowSchema; pure.

use rk_api::meta;
use serde_json::{Value, json};

/// The schema with its condition, given whether its level exists; `None` when the condition says so already.
pub(super) fn with_condition(schema: &Value, exists: bool, now: jiff::Timestamp) -> Option<Value> {
    let level = meta::text(schema, &["spec", "priorityLevelConfiguration", "name"]);
    let reference = format!("This FlowSchema references the PriorityLevelConfiguration object named {level:?}");
    let (status, reason, message) = match exists {
        true => ("False", "Found", format!("{reference} and it exists")),
        false => ("True", "NotFound", format!("{reference} but there is no such object")),
    };
    let mut conditions = meta::at(schema, &["status", "conditions"]).as_array().cloned().unwrap_or_default();
    let place = conditions.iter().position(|own| meta::text(own, &["type"]) == "Dangling");
    let before = place.and_then(|place| conditions.get(place)).cloned().unwrap_or_default();
    let same = |field: &str, value: &str| meta::text(&before, &[field]) == value;
    if same("status", status) && same("reason", reason) && same("message", &message) {
        return None;
    }
    let since = match same("status", status) {
        true => meta::at(&before, &["lastTransitionTime"]).clone(),
        false => json!(now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
    };
    let condition = json!({"type": "Dangling", "status": status, "lastTransitionTime": since, "reason": reason, "message": message});
    match place.and_then(|place| conditions.get_mut(place)) {
        Some(own) => *own = condition,
        None => conditions.push(condition),
    }
    let mut changed = schema.clone();
    changed["status"]["conditions"] = conditions.into();
    Some(changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_tells_once_whether_its_level_exists() {
        let schema = json!({"spec": {"priorityLevelConfiguration": {"name": "high"}}});
        let now = jiff::Timestamp::UNIX_EPOCH;
        let found = with_condition(&schema, true, now).unwrap();
        let own = &found["status"]["conditions"][0];
        assert_eq!((&own["status"], &own["reason"]), (&json!("False"), &json!("Found")));
        assert_eq!(with_condition(&found, true, now), None);
        let lost = with_condition(&found, false, jiff::Timestamp::from_second(60).unwrap()).unwrap();
        let own = &lost["status"]["conditions"][0];
        assert_eq!((&own["status"], &own["lastTransitionTime"]), (&json!("True"), &json!("1970-01-01T00:01:00Z")));
        assert!(own["message"].as_str().unwrap().ends_with("named \"high\" but there is no such object"));
    }
}

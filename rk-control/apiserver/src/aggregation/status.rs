//! The `Available` condition of an APIService; pure.

use rk_api::meta;
use serde_json::{Value, json};

/// What the condition says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) available: bool,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Verdict {
    pub(super) fn no(reason: &'static str, message: String) -> Self {
        Self { available: false, reason, message }
    }
}

/// The APIService with the verdict in its status; `None` when it is there already.
pub(super) fn with_condition(service: &Value, verdict: &Verdict, now: jiff::Timestamp) -> Option<Value> {
    let status = if verdict.available { "True" } else { "False" };
    let mut conditions = meta::at(service, &["status", "conditions"]).as_array().cloned().unwrap_or_default();
    let place = conditions.iter().position(|own| meta::text(own, &["type"]) == "Available");
    let before = place.and_then(|place| conditions.get(place)).cloned().unwrap_or_default();
    let same = |field: &str, value: &str| meta::text(&before, &[field]) == value;
    if same("status", status) && same("reason", verdict.reason) && same("message", &verdict.message) {
        return None;
    }
    let since = match same("status", status) {
        true => meta::at(&before, &["lastTransitionTime"]).clone(),
        false => json!(now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
    };
    let condition = json!({
        "type": "Available", "status": status, "reason": verdict.reason, "message": verdict.message, "lastTransitionTime": since,
    });
    match place.and_then(|place| conditions.get_mut(place)) {
        Some(own) => *own = condition,
        None => conditions.push(condition),
    }
    let mut changed = service.clone();
    changed["status"]["conditions"] = conditions.into();
    Some(changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_written_once_and_tells_since_when() {
        let verdict = Verdict::no("ServiceNotFound", "gone".to_owned());
        let now = jiff::Timestamp::UNIX_EPOCH;
        let written = with_condition(&json!({}), &verdict, now).unwrap();
        assert_eq!(written["status"]["conditions"][0]["lastTransitionTime"], "1970-01-01T00:00:00Z");
        assert_eq!(with_condition(&written, &verdict, now), None);
        let later = jiff::Timestamp::from_second(60).unwrap();
        let other = with_condition(&written, &Verdict::no("MissingEndpoints", String::new()), later).unwrap();
        assert_eq!(other["status"]["conditions"][0]["lastTransitionTime"], "1970-01-01T00:00:00Z");
        let good = Verdict { available: true, reason: "Passed", message: "all checks passed".to_owned() };
        let good = with_condition(&other, &good, later).unwrap();
        assert_eq!(good["status"]["conditions"][0]["lastTransitionTime"], "1970-01-01T00:01:00Z");
    }
}

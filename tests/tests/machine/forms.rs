//! Answers for programs: whatever a table shows is a document of JSON and of YAML as well, with the same fields.

use super::Guest;
use serde_json::Value;

/// Questions whose answers are documents.
const QUESTIONS: [&[&str]; 16] = [
    &["version"],
    &["services"],
    &["ps"],
    &["mounts"],
    &["disks"],
    &["memory"],
    &["cpu"],
    &["netstat", "--listening"],
    &["interfaces"],
    &["routes"],
    &["time"],
    &["certificates", "list"],
    &["list", "/var/log/rk"],
    &["config", "get"],
    &["config", "validate", "worker.yaml"],
    &["config", "patch", "--dry-run", "kubelet: {maxPods: 7}"],
];

/// Names of the fields of an answer.
fn fields(answer: &Value) -> Vec<&str> {
    answer.as_object().map(|fields| fields.keys().map(String::as_str).collect()).unwrap_or_default()
}

/// Asks all of them.
pub fn are_documents(guest: &Guest) {
    for question in QUESTIONS {
        let ask = |form: &str| guest.rkctl(&[&["node", "-o", form], question].concat()).good();
        let (json, yaml) = (ask("json"), ask("yaml"));
        let read: Value = serde_json::from_str(&json).unwrap_or_else(|err| panic!("{question:?}: {err}: {json}"));
        let again: Value = serde_yaml_ng::from_str(&yaml).unwrap_or_else(|err| panic!("{question:?}: {err}: {yaml}"));
        assert!(!fields(&read).is_empty(), "{question:?}: {json}");
        assert_eq!(fields(&read), fields(&again), "{question:?}");
        assert!(!yaml.trim_start().starts_with('{'), "{question:?}: {yaml}");
    }
    // An event is an object in a line, or a document in a stream of them.
    let events = guest.rkctl(&["node", "events", "-o", "json"]).good();
    assert!(!events.is_empty() && events.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{events}");
}

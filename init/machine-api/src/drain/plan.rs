//! Which pods leave a node that is drained, as `kubectl drain` chooses them, and whose its cordon is.

use serde_json::Value;

const MIRROR: &str = "kubernetes.io/config.mirror";

/// A pod that has to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaving {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// It is on its way already.
    pub deleted: bool,
}

/// Who keeps new pods from a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cordon {
    /// It takes pods.
    Nobodys,
    /// It was cordoned by itself, which undoes it.
    Ours,
    /// An operator cordoned it, and alone undoes that.
    Others,
}

/// Of a Node, given whether a cordon of its own is noted. A note beside a node that takes pods is out of date.
pub fn whose(node: &Value, noted: bool) -> Cordon {
    match (node.pointer("/spec/unschedulable").and_then(Value::as_bool), noted) {
        (Some(true), true) => Cordon::Ours,
        (Some(true), false) => Cordon::Others,
        _ => Cordon::Nobodys,
    }
}

/// Whether a change that was asked for has been made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// The server said so.
    Yes,
    /// The server refused it.
    No,
    /// The server failed, or no answer came: it may have been made before that.
    Perhaps,
}

/// By the HTTP status of the answer, if one came.
pub fn made(status: Option<u16>) -> Made {
    match status {
        Some(200..=299) => Made::Yes,
        Some(400..=499) => Made::No,
        _ => Made::Perhaps,
    }
}

/// Out of a PodList: those that are not over, not of a DaemonSet, which would put them back, and not the node's own static ones.
pub fn leaving(list: &Value) -> Vec<Leaving> {
    let pods = list.pointer("/items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    pods.iter().filter(|pod| must_go(pod)).filter_map(named).collect()
}

fn must_go(pod: &Value) -> bool {
    let over = matches!(pod.pointer("/status/phase").and_then(Value::as_str), Some("Succeeded" | "Failed"));
    let mirror = pod.pointer("/metadata/annotations").is_some_and(|all| all.get(MIRROR).is_some());
    let owners = pod.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    let daemon = owners.into_iter().flatten().any(|owner| {
        owner.get("kind").and_then(Value::as_str) == Some("DaemonSet")
            && owner.get("controller").and_then(Value::as_bool) == Some(true)
    });
    !(over || mirror || daemon)
}

fn named(pod: &Value) -> Option<Leaving> {
    // They become part of a path.
    let field = |pointer: &str| {
        let text = pod.pointer(pointer).and_then(Value::as_str)?;
        rk_config::is_dns_subdomain(text).then(|| text.to_owned())
    };
    Some(Leaving {
        namespace: field("/metadata/namespace")?,
        name: field("/metadata/name")?,
        deleted: pod.pointer("/metadata/deletionTimestamp").is_some_and(|time| !time.is_null()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_cordon_is_undone_by_who_made_it_and_none_is_noted_that_was_refused() {
        for (spec, noted, found) in [
            (json!({}), false, Cordon::Nobodys),
            (json!({}), true, Cordon::Nobodys),
            (json!({"unschedulable": false}), true, Cordon::Nobodys),
            (json!({"unschedulable": true}), false, Cordon::Others),
            (json!({"unschedulable": true}), true, Cordon::Ours),
        ] {
            assert_eq!(whose(&json!({"spec": spec}), noted), found, "{spec} {noted}");
        }
        for (status, found) in [
            (Some(200), Made::Yes),
            (Some(403), Made::No),
            (Some(409), Made::No),
            (Some(500), Made::Perhaps),
            (Some(504), Made::Perhaps),
            (None, Made::Perhaps),
        ] {
            assert_eq!(made(status), found, "{status:?}");
        }
    }

    #[test]
    fn what_is_over_what_a_daemon_set_keeps_and_static_pods_stay() {
        let pod = |name: &str, extra: Value| {
            let mut pod = json!({"metadata": {"name": name, "namespace": "default"}, "status": {"phase": "Running"}});
            for (key, value) in extra.as_object().unwrap() {
                match key.as_str() {
                    "phase" => pod["status"]["phase"] = value.clone(),
                    key => pod["metadata"][key] = value.clone(),
                }
            }
            pod
        };
        let owner = |kind: &str| json!({"ownerReferences": [{"kind": kind, "controller": true}]});
        let list = json!({"items": [
            pod("bare", json!({})),
            pod("replica", owner("ReplicaSet")),
            pod("daemon", owner("DaemonSet")),
            pod("static", json!({"annotations": {MIRROR: "x"}})),
            pod("over", json!({"phase": "Succeeded"})),
            pod("going", json!({"deletionTimestamp": "2026-01-01T00:00:00Z"})),
            pod("../odd", json!({})),
        ]});
        let names: Vec<_> = leaving(&list).into_iter().map(|pod| (pod.name, pod.deleted)).collect();
        let owned = |name: &str, deleted| (name.to_owned(), deleted);
        assert_eq!(names, [owned("bare", false), owned("replica", false), owned("going", true)]);
        assert!(leaving(&Value::Null).is_empty());
    }
}

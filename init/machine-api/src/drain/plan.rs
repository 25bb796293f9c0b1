//! Which pods leave a node that is drained, as `kubectl drain` chooses them.

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

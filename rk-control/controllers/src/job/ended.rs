//! When a pod of a Job came to its end.

use crate::pods;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use std::collections::BTreeSet;

/// When a failed pod ended: with the last of its containers, else when it was seen to be ready no more, else when it was told to go, else
/// as soon as it was there.
pub(super) fn ended_at(pod: &Pod) -> Option<Timestamp> {
    let meta = &pod.metadata;
    let unready = || {
        let ready = pods::condition(pod, "Ready").filter(|condition| condition.status == "False");
        ready?.last_transition_time.as_ref().map(|at| at.0)
    };
    let told = || {
        let grace = SignedDuration::from_secs(meta.deletion_grace_period_seconds.unwrap_or(0));
        meta.deletion_timestamp.as_ref()?.0.checked_sub(grace).ok()
    };
    let created = || meta.creation_timestamp.as_ref().map(|at| at.0);
    containers_ended(pod).or_else(unready).or_else(told).or_else(created)
}

/// When the last container ended, or the last sidecar, which outlives the others; `None` while one of them runs.
fn containers_ended(pod: &Pod) -> Option<Timestamp> {
    let status = pod.status.as_ref()?;
    let sidecars: BTreeSet<&str> = pod
        .spec
        .iter()
        .flat_map(|spec| spec.init_containers.iter().flatten())
        .filter(|container| container.restart_policy.as_deref() == Some("Always"))
        .map(|container| container.name.as_str())
        .collect();
    let beside =
        status.init_container_statuses.iter().flatten().filter(|container| sidecars.contains(container.name.as_str()));
    let all: Option<Vec<Timestamp>> =
        status.container_statuses.iter().flatten().chain(beside).map(finished_at).collect();
    all?.into_iter().max()
}

fn finished_at(container: &ContainerStatus) -> Option<Timestamp> {
    Some(container.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref()?.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn container(name: &str, state: Value) -> Value {
        json!({"name": name, "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state})
    }

    #[test]
    fn the_end_of_a_pod_is_told_by_what_knows_it_best() {
        let done = |at: &str| json!({"terminated": {"exitCode": 1, "finishedAt": format!("2026-01-01T00:{at}:00Z")}});
        let spec =
            json!({"containers": [], "initContainers": [{"name": "s", "restartPolicy": "Always"}, {"name": "i"}]});
        let meta = json!({"creationTimestamp": "2026-01-01T00:00:00Z", "deletionTimestamp": "2026-01-01T00:31:00Z",
            "deletionGracePeriodSeconds": 60});
        let both = json!([container("a", done("10")), container("b", done("09"))]);
        let running = json!([container("a", done("10")), container("b", json!({"running": {}}))]);
        let ready =
            |status: &str| json!([{"type": "Ready", "status": status, "lastTransitionTime": "2026-01-01T00:20:00Z"}]);
        let beside = json!([container("s", done("12")), container("i", done("40"))]);
        for (status, want) in [
            (json!({"containerStatuses": both, "conditions": ready("False")}), "10"),
            (json!({"containerStatuses": both, "initContainerStatuses": beside}), "12"),
            (json!({"containerStatuses": running, "conditions": ready("False")}), "20"),
            (json!({"containerStatuses": running, "conditions": ready("True")}), "30"),
            (json!({}), "30"),
        ] {
            let pod = json!({"metadata": meta, "spec": spec, "status": status});
            let pod: Pod = serde_json::from_value(pod).expect("valid");
            let want: Timestamp = format!("2026-01-01T00:{want}:00Z").parse().expect("time");
            assert_eq!(ended_at(&pod), Some(want), "{status}");
        }
    }
}

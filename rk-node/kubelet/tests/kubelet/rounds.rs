//! Restarts of all containers of a pod, as seen through a real control plane, and over restarts of the kubelet.

use k8s_openapi::api::core::v1::PodStatus;
use serde_json::json;

use crate::support::{Rig, ready};

/// Whether every container of a pod that is ready restarted so often.
fn restarted(status: &PodStatus, count: i32) -> bool {
    let lists = [&status.init_container_statuses, &status.container_statuses];
    ready(status) && lists.into_iter().flatten().flatten().all(|c| c.restart_count == count)
}

/// Status of the condition that tells of the restart.
fn condition(status: &PodStatus) -> Option<&str> {
    let mut conditions = status.conditions.iter().flatten();
    conditions.find(|c| c.type_ == "AllContainersRestarting").map(|c| c.status.as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn all_containers_restart_in_place_though_the_kubelet_restarts_meanwhile() {
    let mut rig = Rig::new().await;
    let rules = json!([{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [42]}}]);
    let hook = json!({"preStop": {"exec": {"command": ["farewell"]}}});
    rig.create(
        "whole",
        json!({"restartPolicy": "Never", "terminationGracePeriodSeconds": 600,
            "initContainers": [{"name": "i", "image": "img:1", "command": ["exit", "0"]},
                {"name": "s", "image": "img:1", "command": ["run"], "restartPolicy": "Always"}],
            "containers": [
                {"name": "src", "image": "img:1", "command": ["run"], "restartPolicy": "Never", "restartPolicyRules": rules},
                {"name": "a", "image": "img:1", "command": ["stubborn"], "lifecycle": hook}]}),
    )
    .await;
    let first = rig.status("whole", "the pod is ready", 30, |status| restarted(status, 0)).await;
    assert_eq!(condition(&first), Some("False"));
    rig.cri.exit("whole", "src", 42);
    let again = rig.status("whole", "all restarted", 30, |status| restarted(status, 1)).await;
    assert_eq!((condition(&again), &again.pod_ip), (Some("False"), &first.pod_ip));
    for container in again.init_container_statuses.iter().chain(&again.container_statuses).flatten() {
        let end = container.last_state.clone().and_then(|state| state.terminated).expect("the end before");
        assert_eq!(end.reason.as_deref(), Some("RestartingAllContainers"), "{}", container.name);
    }
    // The container that names the rule ends while nobody looks.
    rig.kubelet = None;
    rig.cri.exit("whole", "src", 42);
    rig.start_kubelet();
    rig.status("whole", "all restarted after the kubelet came back", 60, |status| restarted(status, 2)).await;
    // All others were killed already when the kubelet went away.
    rig.kubelet = None;
    rig.cri.exit("whole", "src", 42);
    rig.cri.exit("whole", "s", 137);
    rig.cri.exit("whole", "a", 137);
    rig.start_kubelet();
    let status = rig.status("whole", "the restart goes on", 90, |status| restarted(status, 3)).await;
    assert_eq!((condition(&status), &status.pod_ip), (Some("False"), &first.pod_ip));
    let state = rig.cri.state();
    assert_eq!(state.calls["RunPodSandbox"], 1, "the sandbox stays");
    assert!(state.execs.is_empty(), "hooks are not run: {:?}", state.execs);
}

//! Pods that go in favour of others, through a real control plane.

use k8s_openapi::api::core::v1::Node;
use kube::api::Api;
use serde_json::json;

use crate::support::{FakeDevice, RESOURCE, Rig, eventually, ready};

#[tokio::test(flavor = "multi_thread")]
async fn devices_of_a_pod_that_goes_in_favour_of_another_are_its_own_until_it_has_ended() {
    let rig = Rig::new().await;
    let _plugin = FakeDevice::start(&rig.options.dirs.kubelet.join("device-plugins")).await;
    let nodes: Api<Node> = Api::all(rig.control.client.clone());
    let cpu = eventually("the node counts the devices", 60, || async {
        let status = nodes.get("node-a").await.map_err(|e| e.to_string())?.status.unwrap_or_default();
        let amounts = status.allocatable.unwrap_or_default();
        let all = amounts.get(RESOURCE).is_some_and(|amount| amount.0 == "2");
        let cpu = amounts.get("cpu").map(|amount| amount.0.clone()).filter(|_| all);
        cpu.ok_or_else(|| format!("{amounts:?}"))
    })
    .await;
    let milli = cpu.strip_suffix('m').map_or_else(|| cpu.parse::<i64>().unwrap() * 1000, |m| m.parse().unwrap());
    let most = format!("{}m", milli * 2 / 3);
    let container = |command: &str, requests: serde_json::Value, limits: serde_json::Value| json!([{"name": "c", "image": "img:1", "command": [command], "resources": {"requests": requests, "limits": limits}}]);
    let victim = container("stubborn", json!({"cpu": most}), json!({RESOURCE: "2"}));
    rig.create("victim", json!({"terminationGracePeriodSeconds": 600, "containers": victim})).await;
    rig.status("victim", "the pod is ready", 60, ready).await;
    let needed = container("run", json!({"cpu": most}), json!({}));
    rig.create("needed", json!({"priorityClassName": "system-node-critical", "containers": needed})).await;
    rig.status("needed", "it has the room of another", 60, ready).await;
    rig.create("next", json!({"containers": container("run", json!({}), json!({RESOURCE: "1"}))})).await;
    let refused = rig
        .status("next", "it has no device", 60, |s| s.phase.is_some() && s.phase.as_deref() != Some("Pending"))
        .await;
    let few = format!("requested number of devices unavailable for {RESOURCE}. Requested: 1, Available: 0");
    assert_eq!(refused.reason.as_deref(), Some("UnexpectedAdmissionError"), "{refused:?}");
    assert_eq!(refused.message, Some(format!("Pod was rejected: Allocate failed due to {few}, which is unexpected")));
    assert_eq!(rig.cri.running("victim").len(), 1, "ten minutes are not over");
}

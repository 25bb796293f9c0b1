//! Devices of plugins in pods, through a real control plane.

use k8s_openapi::api::core::v1::{Node, PodStatus};
use kube::api::Api;
use rk_plugin_api::podresources::ListPodResourcesRequest;
use rk_plugin_api::podresources::pod_resources_lister_client::PodResourcesListerClient;
use serde_json::json;

use crate::support::{FakeDevice, RESOURCE, Rig, eventually, ready};

#[tokio::test(flavor = "multi_thread")]
async fn devices_of_a_plugin_are_counted_given_once_and_told_of() {
    let mut rig = Rig::new().await;
    let kubelet = rig.options.dirs.kubelet.clone();
    let plugin = FakeDevice::start(&kubelet.join("device-plugins")).await;
    let nodes: Api<Node> = Api::all(rig.control.client.clone());
    let amounts = async |all: &str, good: &str| {
        eventually("the node counts the devices", 60, || async {
            let status = nodes.get("node-a").await.map_err(|e| e.to_string())?.status.unwrap_or_default();
            let of = |list: Option<
                std::collections::BTreeMap<_, k8s_openapi::apimachinery::pkg::api::resource::Quantity>,
            >| { list.and_then(|l| l.get(RESOURCE).map(|q| q.0.clone())) };
            let seen = (of(status.capacity), of(status.allocatable));
            if seen == (Some(all.to_owned()), Some(good.to_owned())) { Ok(()) } else { Err(format!("{seen:?}")) }
        })
        .await;
    };
    amounts("3", "2").await;
    let wants = |number: &str| {
        json!({"terminationGracePeriodSeconds": 1, "containers": [{"name": "c", "image": "img:1",
        "command": ["run"], "resources": {"limits": {RESOURCE: number}}}]})
    };
    rig.create("one", wants("1")).await;
    let one = rig.status("one", "the pod is ready", 60, ready).await;
    let health = one.container_statuses.unwrap().remove(0).allocated_resources_status;
    let well = json!([{"name": RESOURCE, "resources": [{"resourceID": "right", "health": "Healthy"}]}]);
    assert_eq!(serde_json::to_value(health).unwrap(), well);
    {
        let state = rig.cri.state();
        let container = state.containers.iter().find(|c| c.config.labels["io.kubernetes.pod.name"] == "one").unwrap();
        assert!(
            container.config.envs.iter().any(|e| e.key == "LAMP" && e.value == b"right"),
            "{:?}",
            container.config.envs
        );
        assert_eq!(container.config.devices[0].container_path, "/dev/lamp");
    }
    rig.cri.exit("one", "c", 1);
    let again = |s: &PodStatus| ready(s) && s.container_statuses.as_ref().is_some_and(|c| c[0].restart_count == 1);
    rig.status("one", "its container runs again", 60, again).await;
    assert_eq!(plugin.seen().allocations, 1, "the plugin is asked once");
    // The allocation outlives the kubelet: another pod cannot have the device.
    rig.kubelet = None;
    drop(plugin);
    std::fs::remove_file(kubelet.join("device-plugins/lamp.sock")).unwrap();
    rig.start_kubelet();
    amounts("0", "0").await;
    // What runs goes on without its plugin, and nobody new has a device before that is back.
    rig.create("early", wants("1")).await;
    let early = rig.status("early", "the pod is refused", 60, |s| s.phase.as_deref() == Some("Failed")).await;
    let none = format!("no healthy devices present; cannot allocate unhealthy devices {RESOURCE}");
    assert_eq!(early.reason.as_deref(), Some("UnexpectedAdmissionError"));
    assert_eq!(early.message, Some(format!("Pod was rejected: Allocate failed due to {none}, which is unexpected")));
    assert_eq!(rig.cri.running("one").len(), 1);
    eventually("the new kubelet's socket", 30, || async {
        tokio::net::UnixStream::connect(kubelet.join("device-plugins/kubelet.sock")).await.map_err(|e| e.to_string())
    })
    .await;
    let plugin = FakeDevice::start(&kubelet.join("device-plugins")).await;
    amounts("3", "2").await;
    let mut lister = PodResourcesListerClient::new(rk_cri_api::connect(kubelet.join("pod-resources/kubelet.sock")));
    let told = eventually("the pod's devices are told", 30, || {
        let mut lister = lister.clone();
        async move {
            let list =
                lister.list(ListPodResourcesRequest {}).await.map_err(|e| e.to_string())?.into_inner().pod_resources;
            list.into_iter().find(|p| p.name == "one").ok_or_else(|| "not told".to_owned())
        }
    })
    .await;
    assert_eq!(told.containers[0].devices[0].device_ids, ["right"]);
    rig.cri.exit("one", "c", 1);
    let again = |s: &PodStatus| ready(s) && s.container_statuses.as_ref().is_some_and(|c| c[0].restart_count == 2);
    rig.status("one", "its container runs again with the new kubelet", 60, again).await;
    assert_eq!(plugin.seen().allocations, 0, "the new kubelet knows what the plugin answered");
    rig.create("two", wants("2")).await;
    let refused = rig.status("two", "the pod is refused", 60, |s| s.phase.as_deref() == Some("Failed")).await;
    let few = format!("requested number of devices unavailable for {RESOURCE}. Requested: 2, Available: 1");
    assert_eq!(refused.reason.as_deref(), Some("UnexpectedAdmissionError"));
    assert_eq!(refused.message, Some(format!("Pod was rejected: Allocate failed due to {few}, which is unexpected")));
    drop(lister.list(ListPodResourcesRequest {}).await);
    // A plugin that gives nothing away fails the pod before anything of it begins; what it held is another's afterwards.
    let over = |s: &PodStatus| s.phase.as_deref() == Some("Failed");
    plugin.seen().broken = Some("no power".into());
    rig.create("three", wants("1")).await;
    let refused = rig.status("three", "the pod is not taken", 60, over).await;
    let why = "Allocate failed due to rpc error: code = Unknown desc = no power, which is unexpected";
    assert_eq!(refused.reason.as_deref(), Some("UnexpectedAdmissionError"));
    assert_eq!(refused.message, Some(format!("Pod was rejected: {why}")));
    assert!(!rig.cri.state().containers.iter().any(|c| c.config.labels["io.kubernetes.pod.name"] == "three"));
    rig.warned("three", why).await;
    plugin.seen().broken = None;
    rig.create("four", wants("1")).await;
    rig.status("four", "the pod has the device", 60, ready).await;
}

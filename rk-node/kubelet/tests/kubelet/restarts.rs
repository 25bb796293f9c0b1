//! Containers that are to begin anew and cannot, through a real control plane.

use k8s_openapi::api::core::v1::{ConfigMap, PodStatus};
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::json;

use crate::support::{Rig, eventually, ready};

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_come_back_is_not_ended() {
    let mut rig = Rig::new().await;
    let maps: Api<ConfigMap> = Api::namespaced(rig.control.client.clone(), "default");
    let map: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "conf"}, "data": {"a": "1"}})).unwrap();
    maps.create(&PostParams::default(), &map).await.unwrap();
    let probe =
        json!({"exec": {"command": ["unhealthy"]}, "periodSeconds": 1, "timeoutSeconds": 30, "failureThreshold": 1});
    let container = json!({"name": "c", "image": "img:1", "command": ["run"], "livenessProbe": probe,
        "volumeMounts": [{"name": "v", "mountPath": "/v"}]});
    let volumes = json!([{"name": "v", "configMap": {"name": "conf"}}]);
    let spec = json!({"terminationGracePeriodSeconds": 1, "containers": [container], "volumes": volumes});
    rig.create("kept", spec).await;
    rig.status("kept", "the pod is ready", 60, ready).await;
    let before = rig.cri.running("kept");
    rig.kubelet = None;
    maps.delete("conf", &DeleteParams::default()).await.unwrap();
    let begun = {
        let mut state = rig.cri.state();
        state.failing_execs.insert("unhealthy".into(), 1);
        state.execs.len()
    };
    rig.start_kubelet();
    eventually("it is found unhealthy", 60, || async {
        if rig.cri.state().execs.len() > begun { Ok(()) } else { Err("no probe".to_owned()) }
    })
    .await;
    rig.warned("kept", "MountVolume.SetUp failed for volume \"v\" : configmap \"conf\" not found").await;
    assert_eq!(rig.cri.running("kept"), before, "without its volume it could not begin anew");
    maps.create(&PostParams::default(), &map).await.unwrap();
    let again = |status: &PodStatus| status.container_statuses.iter().flatten().any(|c| c.restart_count > 0);
    rig.status("kept", "it begins anew", 60, again).await;
}

//! Containers that begin anew, or are to and cannot, through a real control plane.

use k8s_openapi::api::core::v1::{ConfigMap, ContainerState, PodStatus};
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

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_the_runtime_has_forgotten_is_counted_on_by_its_logs() {
    let mut rig = Rig::new().await;
    rig.create("lost", json!({"containers": [{"name": "c", "image": "img:1", "command": ["run"]}]})).await;
    rig.status("lost", "the pod is ready", 60, ready).await;
    rig.kubelet = None;
    rig.cri.state().containers.clear();
    rig.start_kubelet();
    let again = |status: &PodStatus| {
        let runs = |state: &Option<ContainerState>| state.as_ref().is_some_and(|state| state.running.is_some());
        status.container_statuses.iter().flatten().any(|c| c.restart_count == 1 && runs(&c.state))
    };
    rig.status("lost", "it runs again, as the second", 60, again).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_of_a_pod_that_went_while_nobody_watched_go_too() {
    let rig = Rig::new().await;
    rig.create("stays", json!({"containers": [{"name": "c", "image": "img:1", "command": ["run"]}]})).await;
    rig.status("stays", "the pod is ready", 60, ready).await;
    let lost = rig.options.dirs.pod_logs.join("default_lost_7/c");
    std::fs::create_dir_all(&lost).unwrap();
    // It is looked for once in a minute.
    eventually("they are removed", 90, || async {
        if lost.exists() { Err(lost.display().to_string()) } else { Ok(()) }
    })
    .await;
    let left: Vec<_> =
        std::fs::read_dir(&rig.options.dirs.pod_logs).unwrap().flatten().map(|e| e.file_name()).collect();
    let stays = |name: &std::ffi::OsString| name.to_string_lossy().starts_with("default_stays_");
    assert!(left.len() == 1 && left.iter().all(stays), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_whose_hook_fails_ends_with_its_other_hook() {
    let rig = Rig::new().await;
    rig.cri.state().failing_execs.insert("refuse".into(), 1);
    let hook = |command: &str| json!({"exec": {"command": [command]}});
    let hooks = json!({"postStart": hook("refuse"), "preStop": hook("farewell")});
    let container = json!({"name": "c", "image": "img:1", "command": ["run"], "lifecycle": hooks});
    rig.create("undone", json!({"containers": [container]})).await;
    eventually("its preStop hook runs", 60, || async {
        let said: Vec<String> = rig.cri.state().execs.iter().map(|(_, command)| command[0].clone()).collect();
        let both = said.first().is_some_and(|c| c == "refuse") && said.get(1).is_some_and(|c| c == "farewell");
        if both { Ok(()) } else { Err(format!("{said:?}")) }
    })
    .await;
    rig.tells("undone", &["FailedPostStartHook", "Killing"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_fails_its_probe_has_the_time_to_end_that_the_probe_leaves_it() {
    let rig = Rig::new().await;
    rig.cri.state().failing_execs.insert("unhealthy".into(), 1);
    let probe = json!({"exec": {"command": ["unhealthy"]}, "periodSeconds": 1, "timeoutSeconds": 30, "failureThreshold": 1,
        "terminationGracePeriodSeconds": 1});
    let container = json!({"name": "c", "image": "img:1", "command": ["stubborn"], "livenessProbe": probe});
    rig.create("hasty", json!({"terminationGracePeriodSeconds": 3600, "containers": [container]})).await;
    let again = |status: &PodStatus| status.container_statuses.iter().flatten().any(|c| c.restart_count > 0);
    rig.status("hasty", "it begins anew, though its pod's hour is not over", 60, again).await;
    let soon = DeleteParams { grace_period_seconds: Some(1), ..Default::default() };
    rig.pods().delete("hasty", &soon).await.unwrap();
    rig.gone("hasty", 30).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_kubelet_alarms_no_probe_and_loses_no_volume() {
    let mut rig = Rig::new().await;
    let probe =
        json!({"exec": {"command": ["fine"]}, "periodSeconds": 60, "timeoutSeconds": 30, "failureThreshold": 10});
    let probed = json!({"name": "probed", "image": "img:1", "command": ["run"],
        "startupProbe": probe, "livenessProbe": probe, "readinessProbe": probe,
        "volumeMounts": [{"name": "room", "mountPath": "/room"}]});
    let beside = json!({"name": "beside", "image": "img:1", "command": ["run"]});
    let spec = json!({"containers": [beside, probed], "volumes": [{"name": "room", "emptyDir": {}}]});
    let manifest = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "own"}, "spec": spec});
    std::fs::create_dir_all(&rig.options.dirs.manifests).unwrap();
    std::fs::write(rig.options.dirs.manifests.join("own.json"), manifest.to_string()).unwrap();
    rig.create("calm", spec).await;
    let names = ["calm", "own-node-a"];
    let mut began = Vec::new();
    for name in names {
        began.push(rig.status(name, "the pod is ready", 60, ready).await.start_time);
    }
    let uid = rig.pods().get("calm").await.unwrap().metadata.uid.unwrap();
    let file = rig.options.dirs.kubelet.join(format!("pods/{uid}/volumes/kubernetes.io~empty-dir/room/kept"));
    std::fs::write(&file, "kept").unwrap();
    rig.kubelet = None;
    // From now on no probe can find anything good, and none has failed often enough for long.
    rig.cri.state().failing_execs.insert("fine".into(), 1);
    rig.start_kubelet();
    rig.node_ready().await;
    let again = |status: &PodStatus| {
        let mut beside = status.container_statuses.iter().flatten().filter(|c| c.name == "beside");
        beside.any(|c| c.restart_count == 1 && c.ready)
    };
    for (name, began) in names.into_iter().zip(began) {
        // The new kubelet has told of the pod once it tells of this.
        rig.cri.exit(name, "beside", 3);
        let told = rig.status(name, "its neighbour runs again", 60, again).await;
        assert!(ready(&told) && told.start_time == began, "{told:?}");
        let probed = told.container_statuses.iter().flatten().find(|c| c.name == "probed").unwrap();
        assert_eq!((probed.ready, probed.started, probed.restart_count), (true, Some(true), 0), "{name}");
    }
    assert_eq!(std::fs::read_to_string(file).unwrap(), "kept");
    assert_eq!(rig.cri.state().calls["RunPodSandbox"], 2);
}

//! What the node adds of its own to pods of the API: static pods, and volumes of plugins, as seen through a real control plane.

use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod, PodStatus};
use k8s_openapi::api::storage::v1::{CSIDriver, CSINode};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tonic::Code;

use crate::support::{DRIVER, FakeCsi, Rig, eventually, ready};

#[tokio::test(flavor = "multi_thread")]
async fn a_static_pod_runs_is_shown_and_goes_with_its_manifest() {
    let rig = Rig::new().await;
    let manifests = rig.options.dirs.manifests.clone();
    std::fs::create_dir_all(&manifests).unwrap();
    let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: own}\nspec: {containers: [{name: c, image: 'img:1', command: [run]}]}\n";
    std::fs::write(manifests.join("own.yaml"), text).unwrap();
    let status = rig.status("own-node-a", "the mirror tells that the pod is ready", 60, ready).await;
    let since = status.start_time.clone();
    let shown = rig.pods().get("own-node-a").await.unwrap();
    assert!(shown.metadata.annotations.unwrap().contains_key("kubernetes.io/config.mirror"));
    let running = rig.cri.running("own-node-a");
    assert_eq!(running.len(), 1);
    rig.pods().delete("own-node-a", &DeleteParams::default().grace_period(0)).await.unwrap();
    let old = shown.metadata.uid;
    eventually("a deleted mirror comes again", 60, || async {
        match rig.pods().get_opt("own-node-a").await {
            Ok(Some(pod)) if pod.metadata.uid != old && pod.status.as_ref().is_some_and(ready) => Ok(pod),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert_eq!(rig.cri.running("own-node-a"), running, "the pod itself has not noticed");
    let status = rig.status("own-node-a", "the status", 10, ready).await;
    assert_eq!(status.start_time, since);
    std::fs::remove_file(manifests.join("own.yaml")).unwrap();
    rig.gone("own-node-a", 60).await;
    eventually("its container ends", 30, || async {
        if rig.cri.running("own-node-a").is_empty() { Ok(()) } else { Err("it runs".to_owned()) }
    })
    .await;
}

/// More seconds to end than a test takes: only the test ends the pod.
const LONG: u32 = 600;

/// Writes the manifest of the static pod `own`, which has `grace` seconds to end.
fn manifest(rig: &Rig, command: &str, label: &str, grace: u32) {
    let manifests = &rig.options.dirs.manifests;
    std::fs::create_dir_all(manifests).unwrap();
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "own", "labels": {"edition": label}},
        "spec": {"terminationGracePeriodSeconds": grace, "containers": [{"name": "c", "image": "img:1", "command": [command]}]}});
    std::fs::write(manifests.join("own.json"), pod.to_string()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mirror_of_a_static_pod_stays_until_the_pod_has_ended() {
    let rig = Rig::new().await;
    manifest(&rig, "stubborn", "first", LONG);
    rig.status("own-node-a", "the mirror tells that the pod is ready", 60, ready).await;
    let first = rig.pods().get("own-node-a").await.unwrap().metadata.uid;
    manifest(&rig, "run", "second", LONG);
    eventually("the old pod is told to stop", 60, || async {
        let stops = rig.cri.state().calls.get("StopContainer").copied();
        stops.map(drop).ok_or_else(|| "not yet".to_owned())
    })
    .await;
    assert_eq!(rig.pods().get("own-node-a").await.unwrap().metadata.uid, first);
    assert_eq!(rig.cri.running("own-node-a").len(), 1, "the new pod waits for the old");
    rig.cri.exit("own-node-a", "c", 137);
    eventually("the new pod has its mirror", 60, || async {
        let mirror = rig.pods().get("own-node-a").await.map_err(|e| e.to_string())?;
        let new = mirror.metadata.uid != first && mirror.status.as_ref().is_some_and(ready);
        if new { Ok(()) } else { Err(format!("{mirror:?}")) }
    })
    .await;
    assert_eq!(rig.cri.running("own-node-a").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_static_pod_whose_manifest_is_taken_away_and_put_back_runs_again() {
    let rig = Rig::new().await;
    let file = rig.options.dirs.manifests.join("own.json");
    let restarted = async |count: i32| {
        rig.status("own-node-a", "the pod runs again", 60, |status| {
            ready(status) && status.container_statuses.iter().flatten().all(|c| c.restart_count == count)
        })
        .await;
        assert_eq!(rig.cri.running("own-node-a").len(), 1);
    };
    manifest(&rig, "stubborn", "only", 15);
    restarted(0).await;
    // Sooner than anyone looks.
    std::fs::remove_file(&file).unwrap();
    manifest(&rig, "stubborn", "only", 15);
    restarted(1).await;
    // While it ends.
    let stops = || rig.cri.state().calls.get("StopContainer").copied().unwrap_or_default();
    let before = stops();
    std::fs::remove_file(&file).unwrap();
    eventually("the pod is told to stop", 60, || async {
        if stops() > before { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    manifest(&rig, "stubborn", "only", 15);
    restarted(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_stays_while_a_pod_ends_whose_manifest_went_unseen() {
    let mut rig = Rig::new().await;
    manifest(&rig, "stubborn", "only", LONG);
    rig.status("own-node-a", "the mirror tells that the pod is ready", 60, ready).await;
    let mirror = rig.pods().get("own-node-a").await.unwrap().metadata.uid;
    rig.kubelet = None;
    std::fs::remove_file(rig.options.dirs.manifests.join("own.json")).unwrap();
    let before = rig.cri.state().calls.get("StopContainer").copied().unwrap_or_default();
    rig.start_kubelet();
    eventually("the pod is told to stop", 90, || async {
        let stops = rig.cri.state().calls.get("StopContainer").copied().unwrap_or_default();
        if stops > before { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    assert_eq!(rig.pods().get("own-node-a").await.unwrap().metadata.uid, mirror);
    assert_eq!(rig.cri.running("own-node-a").len(), 1);
    rig.cri.exit("own-node-a", "c", 137);
    rig.gone("own-node-a", 60).await;
    assert!(rig.cri.running("own-node-a").is_empty());
}

/// Makes an object of the cluster.
pub async fn create<K>(rig: &Rig, value: Value) -> K
where
    K: kube::Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + serde::Serialize + std::fmt::Debug,
    K: kube::Resource<Scope = k8s_openapi::ClusterResourceScope>,
{
    let api: Api<K> = Api::all(rig.control.client.clone());
    api.create(&PostParams::default(), &serde_json::from_value(value).unwrap()).await.unwrap()
}

/// A claim bound to a volume of this spec, as the binder leaves them.
pub async fn claim(rig: &Rig, name: &str, mut of: Value) {
    of["accessModes"] = json!(["ReadWriteOnce"]);
    of["capacity"] = json!({"storage": "1Gi"});
    of["storageClassName"] = json!("");
    of["claimRef"] = json!({"namespace": "default", "name": name});
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(rig.control.client.clone(), "default");
    let volume = format!("pv-{name}");
    let wish = json!({"metadata": {"name": name}, "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "",
        "volumeName": volume, "resources": {"requests": {"storage": "1Gi"}}}});
    claims.create(&PostParams::default(), &serde_json::from_value(wish).unwrap()).await.unwrap();
    create::<PersistentVolume>(rig, json!({"metadata": {"name": volume}, "spec": of})).await;
    eventually("the claim is bound", 60, || async {
        let claim = claims.get(name).await.map_err(|e| e.to_string())?;
        match claim.status.and_then(|s| s.phase).as_deref() {
            Some("Bound") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

/// A pod whose container sees the volume `v` at `/v`.
pub fn pod_with(volume: Value) -> Value {
    json!({"terminationGracePeriodSeconds": 1, "volumes": [volume],
        "containers": [{"name": "c", "image": "img:1", "command": ["run"], "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]})
}

/// The host's side of `/v` in the pod's container.
fn mounted(rig: &Rig, pod: &str) -> std::path::PathBuf {
    let state = rig.cri.state();
    let container = state.containers.iter().find(|c| c.config.labels["io.kubernetes.pod.name"] == pod).unwrap();
    container.config.mounts.iter().find(|m| m.container_path == "/v").unwrap().host_path.clone().into()
}

/// Grows the volume of the running pod `uses` as an external resizer does, up to the part of the node. Another volume of the pod cannot
/// be had meanwhile, for something else lies in its place, which keeps nobody from telling of it.
async fn grows(rig: &Rig, driver: &FakeCsi) {
    driver.seen().calls.clear();
    let uid = rig.pods().get("uses").await.unwrap().metadata.uid.unwrap();
    let place = rig.options.dirs.kubelet.join("pods").join(uid).join("volumes/kubernetes.io~empty-dir");
    std::fs::remove_dir_all(&place).unwrap();
    std::fs::write(&place, "").unwrap();
    let volumes: Api<PersistentVolume> = Api::all(rig.control.client.clone());
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(rig.control.client.clone(), "default");
    let params = PatchParams::default();
    let size = json!({"spec": {"capacity": {"storage": "2Gi"}}});
    volumes.patch("pv-data", &params, &Patch::Merge(size)).await.unwrap();
    let condition = json!({"status": {"conditions": [{"type": "FileSystemResizePending", "status": "True"}]}});
    claims.patch_status("data", &params, &Patch::Merge(condition)).await.unwrap();
    let told = eventually("the claim has its new size", 120, || async {
        let status = claims.get("data").await.map_err(|e| e.to_string())?.status.unwrap_or_default();
        let size = status.capacity.as_ref().and_then(|c| c.get("storage")).map(|q| q.0.clone());
        if size.as_deref() == Some("2Gi") { Ok(status) } else { Err(format!("{status:?}")) }
    })
    .await;
    assert!(told.conditions.unwrap_or_default().is_empty());
    let mut calls = driver.calls();
    // Where another writes to the claim meanwhile, the driver is asked again before the claim is.
    calls.dedup();
    assert_eq!((calls, driver.seen().size), (vec!["expand"], 2 << 30));
    for about in ["uses", "data"] {
        rig.tells(about, &["FileSystemResizeSuccessful"]).await;
    }
    let counted = [
        "kubelet_volume_stats_capacity_bytes{namespace=\"default\",persistentvolumeclaim=\"data\"} 2147483648"
            .to_owned(),
        format!(
            "csi_operations_seconds_count{{driver_name=\"{DRIVER}\",grpc_status_code=\"OK\",method_name=\"/csi.v1.Node/NodeExpandVolume\",migrated=\"false\"}}"
        ),
        format!(
            "storage_operation_duration_seconds_count{{migrated=\"false\",operation_name=\"volume_mount\",status=\"success\",volume_plugin=\"kubernetes.io/csi:{DRIVER}\"}} 1"
        ),
        format!(
            "volume_manager_total_volumes{{plugin_name=\"kubernetes.io/csi:{DRIVER}\",state=\"actual_state_of_world\"}} 1"
        ),
    ];
    // The kubelet is asked itself: no proxy leads to loopback.
    let kubeconfig = kube::config::Kubeconfig::read_from(rig.dir.path().join("control/admin.kubeconfig")).unwrap();
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.unwrap();
    config.cluster_url = format!("https://{}", rig.options.listen).parse().unwrap();
    let kubelet = kube::Client::try_from(config).unwrap();
    eventually("the volume is counted", 60, || async {
        let request = http::Request::get("/metrics").body(Vec::new()).unwrap();
        let page = kubelet.request_text(request).await.map_err(|e| e.to_string())?;
        if counted.iter().all(|line| page.contains(line)) { Ok(()) } else { Err(page) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_of_a_csi_driver_are_staged_published_and_taken_away() {
    let rig = Rig::new().await;
    let driver = FakeCsi::start(&rig.options.dirs.kubelet);
    let nodes: Api<CSINode> = Api::all(rig.control.client.clone());
    let entry = eventually("the driver is registered", 60, || async {
        let node = nodes.get("node-a").await.map_err(|e| e.to_string())?;
        node.spec.drivers.first().cloned().ok_or_else(|| "no driver".to_owned())
    })
    .await;
    assert_eq!((entry.node_id.as_str(), entry.allocatable.and_then(|a| a.count)), ("node-a-of-driver", Some(7)));
    assert_eq!(entry.topology_keys, Some(vec!["topology.csi.example/rack".into()]));
    let told = Api::<Node>::all(rig.control.client.clone()).get("node-a").await.unwrap().metadata;
    assert_eq!(told.labels.unwrap().get("topology.csi.example/rack").map(String::as_str), Some("r1"));
    let ids = format!("{{\"{DRIVER}\":\"node-a-of-driver\"}}");
    assert_eq!(told.annotations.unwrap().get("csi.volume.kubernetes.io/nodeid"), Some(&ids));
    eventually("the driver hears of it", 20, || async {
        driver.plugin.outcome().filter(|(good, _)| *good).ok_or_else(|| "nothing heard".to_owned())
    })
    .await;
    let name = DRIVER;
    let object = json!({"metadata": {"name": name}, "spec": {"attachRequired": false, "podInfoOnMount": true,
        "volumeLifecycleModes": ["Persistent", "Ephemeral"]}});
    create::<CSIDriver>(&rig, object).await;
    claim(&rig, "data", json!({"csi": {"driver": name, "volumeHandle": "h1", "volumeAttributes": {"k": "v"}}})).await;
    driver.seen().refuses.insert("publish", Code::Internal);
    let mut uses = pod_with(json!({"name": "v", "persistentVolumeClaim": {"claimName": "data"}}));
    let beside = json!({"name": "part", "emptyDir": {}});
    uses["volumes"].as_array_mut().unwrap().push(beside);
    let mounts = uses["containers"][0]["volumeMounts"].as_array_mut().unwrap();
    mounts.push(json!({"name": "part", "mountPath": "/part"}));
    rig.create("uses", uses).await;
    rig.tells("uses", &["FailedMount"]).await;
    driver.seen().refuses.clear();
    rig.status("uses", "the pod is ready", 60, ready).await;
    assert_eq!(std::fs::read_to_string(mounted(&rig, "uses").join("of-driver")).unwrap(), "h1");
    {
        let seen = driver.seen();
        assert_eq!(seen.context.get("k").map(String::as_str), Some("v"));
        assert_eq!(seen.context.get("csi.storage.k8s.io/pod.name").map(String::as_str), Some("uses"));
    }
    eventually("the node tells that it uses the volume", 40, || async {
        let node = Api::<Node>::all(rig.control.client.clone()).get("node-a").await.map_err(|e| e.to_string())?;
        let used = node.status.and_then(|s| s.volumes_in_use).unwrap_or_default();
        if used == [format!("kubernetes.io/csi/{name}^h1")] { Ok(()) } else { Err(format!("{used:?}")) }
    })
    .await;
    grows(&rig, &driver).await;
    driver.seen().calls.clear();
    rig.pods().delete("uses", &DeleteParams::default()).await.unwrap();
    rig.gone("uses", 60).await;
    assert_eq!(driver.calls(), ["unpublish", "unstage"]);

    driver.seen().calls.clear();
    rig.create("inline", pod_with(json!({"name": "v", "csi": {"driver": name, "volumeAttributes": {"size": "1"}}})))
        .await;
    rig.status("inline", "the pod is ready", 60, ready).await;
    assert_eq!(driver.calls(), ["publish"]);
    assert_eq!(driver.seen().context.get("csi.storage.k8s.io/ephemeral").map(String::as_str), Some("true"));
    rig.pods().delete("inline", &DeleteParams::default()).await.unwrap();
    rig.gone("inline", 60).await;
    assert_eq!(driver.calls(), ["publish", "unpublish"]);

    drop(driver);
    eventually("a driver that is gone leaves the node's object", 60, || async {
        let node = nodes.get("node-a").await.map_err(|e| e.to_string())?;
        if node.spec.drivers.is_empty() { Ok(()) } else { Err(format!("{:?}", node.spec.drivers)) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resize_beyond_the_node_is_told_as_infeasible_and_one_that_fits_is_done() {
    let rig = Rig::new().await;
    let containers = json!([{"name": "c", "image": "img:1", "command": ["run"], "resources": {"requests": {"cpu": "10m", "memory": "10Mi"}}}]);
    rig.create("grows", json!({"containers": containers})).await;
    rig.status("grows", "the pod is ready", 60, ready).await;
    let resize = async |cpu: &str| {
        let body = json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}});
        let api: Api<Pod> = rig.pods();
        let done = api.patch_subresource("resize", "grows", &PatchParams::default(), &Patch::Strategic(body)).await;
        done.map(drop).map_err(|error| error.to_string())
    };
    let condition = |status: &k8s_openapi::api::core::v1::PodStatus| {
        status.conditions.iter().flatten().find(|c| c.type_ == "PodResizePending").and_then(|c| c.reason.clone())
    };
    let refused = resize("9000").await.unwrap_err();
    assert!(refused.contains("node didn't have enough allocatable resources: cpu, requested: 9000000"), "{refused}");
    // What comes to the kubelet all the same was let in while the Node told more than there is.
    let nodes: Api<Node> = Api::all(rig.control.client.clone());
    for cpu in ["9000", "8000"] {
        eventually("the API takes the resize", 60, || async {
            let more = json!({"status": {"allocatable": {"cpu": "10000"}}});
            let told = nodes.patch_status("node-a", &PatchParams::default(), &Patch::Merge(more)).await;
            told.map_err(|error| error.to_string())?;
            resize(cpu).await
        })
        .await;
    }
    // The second comes as soon as may be: what is told is about it.
    let latest = |s: &k8s_openapi::api::core::v1::PodStatus| {
        let pending = s.conditions.iter().flatten().find(|c| c.type_ == "PodResizePending");
        let message = pending.and_then(|c| c.message.as_deref()).unwrap_or_default();
        condition(s).as_deref() == Some("Infeasible") && message.contains("cpu, requested: 8000000,")
    };
    let told = rig.status("grows", "the condition", 60, latest).await;
    let of = told.container_statuses.unwrap().remove(0);
    assert_eq!(of.allocated_resources.unwrap()["cpu"].0, "10m");
    resize("20m").await.unwrap();
    let done = rig
        .status("grows", "the condition goes", 60, |s| {
            let of = s.container_statuses.iter().flatten().next().and_then(|c| c.allocated_resources.clone());
            condition(s).is_none() && of.is_some_and(|r| r["cpu"].0 == "20m")
        })
        .await;
    assert_eq!(done.observed_generation, Some(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_fills_its_empty_dir_beyond_the_limit_is_evicted_and_says_why() {
    let rig = Rig::new().await;
    rig.create("fills", pod_with(json!({"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}))).await;
    rig.status("fills", "the pod is ready", 60, ready).await;
    std::fs::write(mounted(&rig, "fills").join("much"), vec![1; 2 << 20]).unwrap();
    let status = rig.status("fills", "the pod has failed", 60, |s| s.phase.as_deref() == Some("Failed")).await;
    assert_eq!(status.reason.as_deref(), Some("Evicted"));
    assert_eq!(status.message.as_deref(), Some("Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\". "));
    let disrupted = status.conditions.iter().flatten().any(|c| c.type_ == "DisruptionTarget");
    assert!(!disrupted, "it went for what it did itself");
    assert!(rig.cri.running("fills").is_empty());
    rig.tells("fills", &["Evicted"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_is_taken_by_a_label_that_is_as_young_as_itself() {
    let rig = Rig::new().await;
    let nodes: Api<Node> = Api::all(rig.control.client.clone());
    let rounds: Vec<String> = (0..20).map(|round| format!("young-{round}")).collect();
    for name in &rounds {
        let label = json!({"metadata": {"labels": {name: "yes"}}});
        nodes.patch("node-a", &PatchParams::default(), &Patch::Merge(label)).await.unwrap();
        let container = json!({"name": "c", "image": "img:1", "command": ["run"]});
        rig.create(name, json!({"nodeSelector": {name: "yes"}, "containers": [container]})).await;
    }
    for name in &rounds {
        rig.status(name, "the pod is ready", 60, ready).await;
    }
    rig.create("never", json!({"nodeSelector": {"absent": "yes"}, "containers": [{"name": "c", "image": "img:1"}]}))
        .await;
    let refused = |status: &PodStatus| status.reason.as_deref() == Some("NodeAffinity");
    rig.status("never", "a label that the node does not have", 60, refused).await;
}

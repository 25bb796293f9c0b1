//! CSI drivers that refuse, that take tokens, and that change what they said, as seen through a real control plane.

use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::{CSIDriver, CSINode, VolumeAttachment};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use tonic::Code;

use crate::local::{claim, create, pod_with};
use crate::support::{DRIVER, FakeCsi, Rig, eventually, ready};

/// A rig with a driver that is registered, whose object says this, and a claim `data` of a volume of it.
async fn with_driver(spec: Value) -> (Rig, FakeCsi) {
    let rig = Rig::new().await;
    let driver = FakeCsi::start(&rig.options.dirs.kubelet);
    create::<CSIDriver>(&rig, json!({"metadata": {"name": DRIVER}, "spec": spec})).await;
    takes(&rig, 7).await;
    claim(&rig, "data", json!({"csi": {"driver": DRIVER, "volumeHandle": "h1"}})).await;
    (rig, driver)
}

/// Waits until the node tells that it takes so many volumes of the driver.
async fn takes(rig: &Rig, count: i32) {
    let nodes: Api<CSINode> = Api::all(rig.control.client.clone());
    eventually("the node takes so many volumes", 60, || async {
        let node = nodes.get("node-a").await.map_err(|e| e.to_string())?;
        let told = node.spec.drivers.first().and_then(|d| d.allocatable.as_ref()?.count);
        if told == Some(count) { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
}

async fn begin(rig: &Rig, pod: &str) {
    rig.create(pod, pod_with(json!({"name": "v", "persistentVolumeClaim": {"claimName": "data"}}))).await;
}

async fn end(rig: &Rig, pod: &str) {
    rig.pods().delete(pod, &DeleteParams::default()).await.unwrap();
    rig.gone(pod, 60).await;
}

/// Whether the node tells that it uses volumes is as `wanted`.
async fn uses(nodes: &Api<Node>, wanted: bool) -> Result<(), String> {
    let node = nodes.get("node-a").await.map_err(|e| e.to_string())?;
    let used = node.status.and_then(|s| s.volumes_in_use).unwrap_or_default();
    if used.is_empty() == wanted { Err(format!("{used:?}")) } else { Ok(()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_hangs_keeps_no_other_from_its_registration() {
    let rig = Rig::new().await;
    let nodes: Api<Node> = Api::all(rig.control.client.clone());
    eventually("the node is there", 60, || async { nodes.get("node-a").await.map_err(|e| e.to_string()) }).await;
    let registry = rig.options.dirs.kubelet.join("plugins_registry");
    std::fs::create_dir_all(&registry).unwrap();
    // They take connections and never answer, for ten seconds each, and are found first.
    let _silent = ["0", "1", "2", "3", "4", "5", "6", "7"]
        .map(|name| std::os::unix::net::UnixListener::bind(registry.join(name)).unwrap());
    let begun = std::time::Instant::now();
    let _driver = FakeCsi::start(&rig.options.dirs.kubelet);
    takes(&rig, 7).await;
    assert!(begun.elapsed() < std::time::Duration::from_secs(70), "it took {:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_be_staged_is_unstaged_and_a_driver_that_refuses_that_keeps_no_pod() {
    let (rig, driver) = with_driver(json!({"attachRequired": false})).await;
    let both = ["stage", "unstage"];
    for (pod, code, want) in
        [("never", Code::InvalidArgument, vec!["stage"]), ("perhaps", Code::DeadlineExceeded, both.to_vec())]
    {
        driver.seen().refuses.insert("stage", code);
        begin(&rig, pod).await;
        rig.tells(pod, &["FailedMount"]).await;
        end(&rig, pod).await;
        assert_eq!(driver.take_calls(&both), want, "{pod}");
    }
    driver.seen().refuses.clear();
    driver.seen().refuses.insert("unstage", Code::DeadlineExceeded);
    for pod in ["first", "second"] {
        begin(&rig, pod).await;
        rig.status(pod, "the pod is ready", 60, ready).await;
        end(&rig, pod).await;
    }
    assert_eq!(driver.take_calls(&both), ["stage", "unstage", "stage", "unstage"]);
    let nodes: Api<Node> = Api::all(rig.control.client.clone());
    eventually("the node still uses the volume", 60, || uses(&nodes, true)).await;
    driver.seen().refuses.clear();
    eventually("the driver is asked until it does it", 90, || uses(&nodes, false)).await;
    assert_eq!(driver.take_calls(&both), ["unstage"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_a_volume_are_taken_away_before_its_driver_is_asked_to() {
    let (rig, driver) = with_driver(json!({"attachRequired": false})).await;
    let mounts = json!([{"name": "v", "mountPath": "/part", "subPath": "part"}]);
    let container = json!({"name": "c", "image": "img:1", "command": ["run"], "volumeMounts": mounts});
    let volumes = json!([{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]);
    rig.create("part", json!({"containers": [container], "volumes": volumes})).await;
    rig.status("part", "the pod is ready", 60, ready).await;
    let uid = rig.pods().get("part").await.unwrap().metadata.uid.unwrap();
    let parts = rig.options.dirs.kubelet.join("pods").join(uid).join("volume-subpaths/v/c/0");
    assert!(parts.is_dir(), "no {}", parts.display());
    end(&rig, "part").await;
    assert_eq!(driver.take_calls(&["unpublish", "unstage"]), ["unpublish", "unstage"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_driver_has_goes_though_a_driver_refuses_to_take_its_own() {
    let (rig, driver) = with_driver(json!({"attachRequired": false})).await;
    let mut pod = pod_with(json!({"name": "v", "persistentVolumeClaim": {"claimName": "data"}}));
    pod["volumes"].as_array_mut().unwrap().push(json!({"name": "room", "emptyDir": {}}));
    let mounts = pod["containers"][0]["volumeMounts"].as_array_mut().unwrap();
    mounts.push(json!({"name": "room", "mountPath": "/room"}));
    rig.create("both", pod).await;
    rig.status("both", "the pod is ready", 60, ready).await;
    let uid = rig.pods().get("both").await.unwrap().metadata.uid.unwrap();
    let volumes = rig.options.dirs.kubelet.join("pods").join(uid).join("volumes");
    let room = volumes.join("kubernetes.io~empty-dir/room");
    assert!(room.is_dir(), "no {}", room.display());
    driver.seen().refuses.insert("unpublish", Code::Internal);
    rig.pods().delete("both", &DeleteParams::default()).await.unwrap();
    eventually("the pod's own volume is gone", 60, || async {
        if room.exists() { Err(format!("{} is there", room.display())) } else { Ok(()) }
    })
    .await;
    assert!(volumes.join("kubernetes.io~csi/pv-data/mount/of-driver").is_file(), "the driver has not taken it");
    driver.seen().refuses.clear();
    rig.gone("both", 60).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_driver_has_and_stays_keeps_no_driver_from_taking_its_own() {
    let (rig, driver) = with_driver(json!({"attachRequired": false})).await;
    let mut pod = pod_with(json!({"name": "v", "persistentVolumeClaim": {"claimName": "data"}}));
    pod["volumes"].as_array_mut().unwrap().push(json!({"name": "room", "emptyDir": {}}));
    let mounts = pod["containers"][0]["volumeMounts"].as_array_mut().unwrap();
    mounts.push(json!({"name": "room", "mountPath": "/room"}));
    rig.create("busy", pod).await;
    rig.status("busy", "the pod is ready", 60, ready).await;
    let uid = rig.pods().get("busy").await.unwrap().metadata.uid.unwrap();
    let disk = rig.options.dirs.kubelet.join("pods").join(uid).join("volumes/kubernetes.io~empty-dir/room/disk");
    std::fs::create_dir(&disk).unwrap();
    // A file system that is nowhere else, like that of a device.
    nix::mount::mount(Some("ramfs"), &disk, Some("ramfs"), nix::mount::MsFlags::empty(), None::<&str>).unwrap();
    let used = std::fs::File::create(disk.join("file")).unwrap();
    rig.pods().delete("busy", &DeleteParams::default()).await.unwrap();
    eventually("the driver has taken its own", 60, || async {
        let calls = driver.calls();
        if calls.contains(&"unpublish") { Ok(()) } else { Err(format!("{calls:?}")) }
    })
    .await;
    assert!(disk.join("file").is_file(), "it is used");
    drop(used);
    rig.gone("busy", 60).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_is_told_as_in_use_before_it_is_there_and_no_longer_once_it_is_gone() {
    let (mut rig, driver) = with_driver(json!({"attachRequired": true})).await;
    // Whatever is told of volumes is told for their sake.
    rig.kubelet = None;
    rig.options.pace.status_update = std::time::Duration::from_secs(3600);
    rig.start_kubelet();
    begin(&rig, "uses").await;
    let nodes: Api<Node> = Api::all(rig.control.client.clone());
    eventually("the node tells that it is to use the volume", 60, || uses(&nodes, true)).await;
    assert!(driver.take_calls(&["stage", "publish"]).is_empty(), "nobody has attached it");
    let attachments: Api<VolumeAttachment> = Api::all(rig.control.client.clone());
    let name = eventually("the volume is to be attached", 60, || async {
        let all = attachments.list(&ListParams::default()).await.map_err(|e| e.to_string())?;
        all.items.into_iter().find_map(|one| one.metadata.name).ok_or_else(|| "no attachment".to_owned())
    })
    .await;
    // As an external attacher does.
    let attached = Patch::Merge(json!({"status": {"attached": true}}));
    attachments.patch_status(&name, &PatchParams::default(), &attached).await.unwrap();
    rig.status("uses", "the pod is ready", 60, ready).await;
    assert_eq!(driver.take_calls(&["stage", "publish"]), ["stage", "publish"]);
    end(&rig, "uses").await;
    eventually("the node tells that it does not use the volume any more", 30, || uses(&nodes, false)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_size_that_the_node_cannot_give_is_told_and_another_one_is_tried() {
    let (rig, driver) = with_driver(json!({"attachRequired": false})).await;
    begin(&rig, "uses").await;
    rig.status("uses", "the pod is ready", 60, ready).await;
    driver.seen().refuses.insert("expand", Code::OutOfRange);
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(rig.control.client.clone(), "default");
    let volumes: Api<PersistentVolume> = Api::all(rig.control.client.clone());
    // As an external resizer does, up to the part of the node.
    let grow = async |size: &str| {
        let params = PatchParams::default();
        let capacity = json!({"spec": {"capacity": {"storage": size}}});
        volumes.patch("pv-data", &params, &Patch::Merge(capacity)).await.unwrap();
        let pending = json!({"status": {"allocatedResourceStatuses": {"storage": "NodeResizePending"}}});
        claims.patch_status("data", &params, &Patch::Merge(pending)).await.unwrap();
    };
    grow("9Gi").await;
    eventually("the claim tells that this cannot be", 120, || async {
        let status = claims.get("data").await.map_err(|e| e.to_string())?.status.unwrap_or_default();
        let progress = status.allocated_resource_statuses.as_ref().and_then(|all| all.get("storage")).cloned();
        let failed = status.conditions.iter().flatten().any(|c| c.type_ == "NodeResizeError" && c.status == "True");
        match (progress.as_deref(), failed) {
            (Some("NodeResizeInfeasible"), true) => Ok(()),
            _ => Err(format!("{status:?}")),
        }
    })
    .await;
    let failed = "Expander.NodeExpand failed to expand the volume";
    let cannot_be = "rpc error: code = OutOfRange desc = the disk is on fire";
    let running = "NodeExpandVolume.NodeExpandVolume failed for volume \"pv-data\" :";
    rig.warned("uses", &format!("{running} {failed} {cannot_be}")).await;
    rig.tells("uses", &["VolumeResizeFailed"]).await;
    driver.seen().refuses.clear();
    grow("5Gi").await;
    let status = eventually("the claim has the other size", 120, || async {
        let status = claims.get("data").await.map_err(|e| e.to_string())?.status.unwrap_or_default();
        let size = status.capacity.as_ref().and_then(|c| c.get("storage")).map(|q| q.0.clone());
        if size.as_deref() == Some("5Gi") { Ok(status) } else { Err(format!("{status:?}")) }
    })
    .await;
    assert!(status.conditions.unwrap_or_default().is_empty() && status.allocated_resource_statuses.is_none());
    assert_eq!(driver.seen().size, 5 << 30);

    end(&rig, "uses").await;
    // A driver that may still be at it is asked again.
    driver.seen().refuses.insert("expand", Code::Unavailable);
    grow("6Gi").await;
    begin(&rig, "later").await;
    let not_yet = "rpc error: code = Unavailable desc = the disk is on fire";
    let begun = "MountVolume.Setup failed while expanding volume for volume \"pv-data\" :";
    rig.warned("later", &format!("{begun} {failed} : {not_yet}")).await;
    rig.tells("later", &["FailedMount"]).await;
    driver.seen().refuses.clear();
    rig.status("later", "the pod is ready once its volume has grown", 60, ready).await;
    assert_eq!(driver.seen().size, 6 << 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_only_reads_its_volume_is_told_that_it_does_not_grow_there() {
    let (rig, driver) = with_driver(json!({"attachRequired": false})).await;
    let claim = json!({"claimName": "data", "readOnly": true});
    rig.create("reads", pod_with(json!({"name": "v", "persistentVolumeClaim": claim}))).await;
    rig.status("reads", "the pod is ready", 60, ready).await;
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(rig.control.client.clone(), "default");
    let volumes: Api<PersistentVolume> = Api::all(rig.control.client.clone());
    let params = PatchParams::default();
    let capacity = json!({"spec": {"capacity": {"storage": "9Gi"}}});
    volumes.patch("pv-data", &params, &Patch::Merge(capacity)).await.unwrap();
    let pending = json!({"status": {"allocatedResourceStatuses": {"storage": "NodeResizePending"}}});
    claims.patch_status("data", &params, &Patch::Merge(pending)).await.unwrap();
    for about in ["reads", "data"] {
        rig.tells(about, &["FileSystemResizeFailed"]).await;
    }
    let status = claims.get("data").await.unwrap().status.unwrap();
    let left = status.allocated_resource_statuses.unwrap();
    assert_eq!(left["storage"], "NodeResizePending", "whoever writes it may still grow it");
    assert!(!driver.calls().contains(&"expand"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_gets_tokens_as_secrets_and_says_anew_how_many_volumes_the_node_takes() {
    let (rig, driver) = with_driver(json!({"attachRequired": false, "nodeAllocatableUpdatePeriodSeconds": 10,
        "tokenRequests": [{"audience": "vault"}], "serviceAccountTokenInSecrets": true}))
    .await;
    driver.seen().fewer = 2;
    begin(&rig, "uses").await;
    rig.status("uses", "the pod is ready", 60, ready).await;
    let key = "csi.storage.k8s.io/serviceAccount.tokens";
    {
        let seen = driver.seen();
        let tokens: Value = serde_json::from_str(&seen.secrets[key]).unwrap();
        assert!(tokens["vault"]["token"].is_string() && tokens["vault"]["expirationTimestamp"].is_string());
        assert!(!seen.context.contains_key(key), "{:?}", seen.context);
    }
    takes(&rig, 5).await;
}

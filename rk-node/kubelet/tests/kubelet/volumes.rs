//! Volumes that cannot be had or go away, and such that are images, through a real control plane.

use std::time::Duration;

use kube::api::{Patch, PatchParams};
use rk_kubelet::ImageGc;
use serde_json::json;

use crate::support::{Rig, eventually, ready};

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_cannot_be_had_keeps_no_other_from_its_place() {
    let rig = Rig::new().await;
    let volumes = json!([{"name": "conf", "configMap": {"name": "none"}}, {"name": "room", "emptyDir": {}}]);
    let mounts = json!([{"name": "conf", "mountPath": "/conf"}, {"name": "room", "mountPath": "/room"}]);
    let container = json!({"name": "c", "image": "img:1", "command": ["run"], "volumeMounts": mounts});
    rig.create("waits", json!({"containers": [container], "volumes": volumes})).await;
    let uid = rig.pods().get("waits").await.unwrap().metadata.uid.unwrap();
    let place = rig.options.dirs.kubelet.join("pods").join(uid).join("volumes/kubernetes.io~empty-dir/room");
    eventually("the other volume is there", 30, || async {
        if place.is_dir() { Ok(()) } else { Err(format!("no {}", place.display())) }
    })
    .await;
    assert!(rig.cri.running("waits").is_empty(), "a volume is missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_of_the_node_are_looked_at_when_a_pod_gets_them_and_not_again() {
    let rig = Rig::new().await;
    let (made, found) = (rig.dir.path().join("made"), rig.dir.path().join("found"));
    std::fs::create_dir(&found).unwrap();
    let facts = json!({"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]});
    let volumes = json!([
        {"name": "made", "hostPath": {"path": made, "type": "DirectoryOrCreate"}},
        {"name": "found", "hostPath": {"path": found, "type": "Directory"}},
        {"name": "facts", "downwardAPI": facts},
    ]);
    let mounts = ["made", "found", "facts"].map(|name| json!({"name": name, "mountPath": format!("/{name}")}));
    let container = json!({"name": "c", "image": "img:1", "command": ["run"], "volumeMounts": mounts});
    rig.create("has", json!({"containers": [container], "volumes": volumes})).await;
    rig.status("has", "the pod is ready", 60, ready).await;
    std::fs::remove_dir(&made).unwrap();
    std::fs::remove_dir(&found).unwrap();
    let label = json!({"metadata": {"labels": {"edition": "second"}}});
    let pod = rig.pods().patch("has", &PatchParams::default(), &Patch::Merge(label)).await.unwrap();
    let own = rig.options.dirs.kubelet.join("pods").join(pod.metadata.uid.unwrap());
    let facts = own.join("volumes/kubernetes.io~downward-api/facts/labels");
    // The volumes come in their order: the paths' turn was before.
    eventually("the volumes are refreshed", 60, || async {
        let text = std::fs::read_to_string(&facts).map_err(|e| e.to_string())?;
        if text.contains("second") { Ok(()) } else { Err(text) }
    })
    .await;
    assert!(!made.exists(), "the path was made again");
    let told = rig.reasons("has").await;
    assert!(!told.iter().any(|reason| reason == "FailedMount"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_no_container_sees_is_not_waited_for() {
    let rig = Rig::new().await;
    let volumes = json!([{"name": "conf", "configMap": {"name": "none"}}, {"name": "room", "emptyDir": {}}]);
    let container = json!({"name": "c", "image": "img:1", "command": ["run"]});
    rig.create("runs", json!({"containers": [container], "volumes": volumes})).await;
    rig.status("runs", "the pod is ready", 60, ready).await;
    let uid = rig.pods().get("runs").await.unwrap().metadata.uid.unwrap();
    let place = rig.options.dirs.kubelet.join("pods").join(uid).join("volumes/kubernetes.io~empty-dir/room");
    assert!(!place.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_a_volume_shows_is_used_when_its_kubelet_begins_anew() {
    let mut rig = Rig::new().await;
    let container =
        json!({"name": "c", "image": "img:1", "command": ["run"], "volumeMounts": [{"name": "v", "mountPath": "/v"}]});
    let volumes = json!([{"name": "v", "image": {"reference": "data:1"}}]);
    rig.create("shows", json!({"containers": [container], "volumes": volumes})).await;
    rig.status("shows", "the pod is ready", 60, ready).await;
    rig.kubelet = None;
    rig.cri.state().images.push("unused:1".to_owned());
    // Whatever nobody uses goes at once.
    rig.options.image_gc = ImageGc { high: 0, low: 0, youngest: Duration::ZERO, oldest: Duration::ZERO };
    rig.start_kubelet();
    let removed = eventually("what nobody uses is removed", 60, || async {
        let removed = rig.cri.state().removed_images.clone();
        if removed.iter().any(|image| image == "unused:1") { Ok(removed) } else { Err(format!("{removed:?}")) }
    })
    .await;
    assert!(!removed.iter().any(|image| image == "data:1"), "{removed:?}");
}

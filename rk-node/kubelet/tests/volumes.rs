//! Volumes that cannot be had, through a real control plane.

mod support;

use serde_json::json;
use support::{Rig, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_cannot_be_had_keeps_no_other_from_its_place() {
    let rig = Rig::new().await;
    let volumes = json!([{"name": "conf", "configMap": {"name": "none"}}, {"name": "room", "emptyDir": {}}]);
    let container = json!({"name": "c", "image": "img:1", "command": ["run"]});
    rig.create("waits", json!({"containers": [container], "volumes": volumes})).await;
    let uid = rig.pods().get("waits").await.unwrap().metadata.uid.unwrap();
    let place = rig.options.dirs.kubelet.join("pods").join(uid).join("volumes/kubernetes.io~empty-dir/room");
    eventually("the other volume is there", 30, || async {
        if place.is_dir() { Ok(()) } else { Err(format!("no {}", place.display())) }
    })
    .await;
    assert!(rig.cri.running("waits").is_empty(), "a volume is missing");
}

//! Volumes that come to nodes: attached where their pods are, and chosen for claims that wait for a consumer. The test plays the
//! provisioner, the attacher and the part of the kubelets that mounts.

use crate::cluster::rest::Rest;
use crate::cluster::start;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const VOLUMES: &str = "/api/v1/persistentvolumes";
const ATTACHMENTS: &str = "/apis/storage.k8s.io/v1/volumeattachments";
const CLASSES: &str = "/apis/storage.k8s.io/v1/storageclasses";

fn volume(name: &str, class: &str, more: Value) -> Value {
    let mut volume = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": {
        "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": class,
        "persistentVolumeReclaimPolicy": "Retain"}});
    for (key, value) in more.as_object().into_iter().flatten() {
        volume["spec"][key] = value.clone();
    }
    volume
}

fn claim(name: &str, class: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": {
        "accessModes": ["ReadWriteOnce"], "storageClassName": class, "resources": {"requests": {"storage": "1Gi"}}}})
}

/// A pod with one claim, on a node or wherever it fits.
fn pod(name: &str, claim: &str, node: Option<&str>) -> Value {
    let volumes = json!([{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]);
    let mounts = json!([{"name": "v", "mountPath": "/v"}]);
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"volumes": volumes,
        "containers": [{"name": "c", "image": "example.com/i:1", "volumeMounts": mounts}]}});
    if let Some(node) = node {
        pod["spec"]["nodeName"] = json!(node);
    }
    pod
}

/// The attachments to a node in a list of all.
fn on<'a>(list: &'a Value, node: &str) -> Vec<&'a Value> {
    let all = list["items"].as_array().into_iter().flatten();
    all.filter(|own| own["spec"]["nodeName"] == node).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_are_attached_where_their_pods_are_and_detached_once_let_go() {
    let (plane, _nodes) = start(&["n1", "n2"]).await;
    let rest = Rest::new(plane.client().await, "attach").await;
    let managed =
        json!({"metadata": {"annotations": {"volumes.kubernetes.io/controller-managed-attach-detach": "true"}}});
    for node in ["n1", "n2"] {
        rest.patch(&format!("/api/v1/nodes/{node}"), &managed).await;
    }
    // Not under the name that is looked for: somebody else's.
    let foreign = json!({"apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttachment", "metadata": {"name": "foreign"}, "spec": {
        "attacher": "csi.example.com", "nodeName": "n1", "source": {"persistentVolumeName": "pv"}}});
    let source = json!({"csi": {"driver": "csi.example.com", "volumeHandle": "h"}});
    rest.create(VOLUMES, &volume("pv", "none", source)).await;
    rest.create("persistentvolumeclaims", &claim("data", "none")).await;
    rest.until("persistentvolumeclaims/data", |own| own["status"]["phase"] == "Bound").await;
    rest.create("pods", &pod("p", "data", Some("n1"))).await;
    let seen = rest.until(ATTACHMENTS, |list| on(list, "n1").len() == 1).await;
    let own = on(&seen, "n1")[0].clone();
    assert_eq!(own["spec"]["attacher"], "csi.example.com");
    assert_eq!(own["spec"]["source"], json!({"persistentVolumeName": "pv"}));
    let name = own["metadata"]["name"].as_str().expect("a name");
    assert!(name.starts_with("csi-") && name.len() == 68, "{name}");

    let place = format!("{ATTACHMENTS}/{name}");
    let failed = json!({"status": {"attached": false, "attachError": {"message": "the rack is full"}}});
    rest.patch(&format!("{place}/status"), &failed).await;
    rest.hears("p", "FailedAttachVolume", |text| {
        text.contains("AttachVolume.Attach failed for volume \"pv\" : the rack is full")
    })
    .await;
    rest.patch(&format!("{place}/status"), &json!({"status": {"attached": true, "attachError": null}})).await;
    let unique = "kubernetes.io/csi/csi.example.com^h";
    let there = json!([{"name": unique, "devicePath": ""}]);
    rest.until("/api/v1/nodes/n1", |node| node["status"]["volumesAttached"] == there).await;
    rest.hears("p", "SuccessfulAttachVolume", |text| text.contains("AttachVolume.Attach succeeded for volume \"pv\""))
        .await;
    rest.patch("/api/v1/nodes/n1/status", &json!({"status": {"volumesInUse": [unique]}})).await;

    rest.create("pods", &pod("q", "data", Some("n2"))).await;
    rest.hears("q", "FailedAttachVolume", |text| text.contains("Volume is already used by pod(s) p")).await;
    rest.delete("pods/p", &Value::Null).await;
    rest.until("pods/p", Value::is_null).await;
    let seen = rest.get(&place).await;
    assert!(seen["metadata"]["deletionTimestamp"].is_null(), "its node has it mounted: {seen}");
    assert!(on(&rest.get(ATTACHMENTS).await, "n2").is_empty());
    rest.patch("/api/v1/nodes/n1/status", &json!({"status": {"volumesInUse": []}})).await;
    rest.until(&place, Value::is_null).await;
    rest.until(ATTACHMENTS, |list| on(list, "n2").len() == 1).await;
    rest.until("/api/v1/nodes/n1", |node| {
        node["status"]["volumesAttached"].as_array().is_none_or(|all| all.is_empty())
    })
    .await;

    // The driver changes its mind: it mounts without.
    rest.patch("/api/v1/nodes/n2/status", &json!({"status": {"volumesInUse": [unique]}})).await;
    let driver = json!({"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": "csi.example.com"},
        "spec": {"attachRequired": false}});
    rest.create("/apis/storage.k8s.io/v1/csidrivers", &driver).await;
    rest.until(ATTACHMENTS, |list| on(list, "n2").is_empty()).await;

    rest.create(ATTACHMENTS, &foreign).await;
    rest.delete("pods/q", &Value::Null).await;
    rest.until("pods/q", Value::is_null).await;
    assert_eq!(on(&rest.get(ATTACHMENTS).await, "n1").len(), 1, "what others made stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_whose_object_goes_before_it_is_attached_is_attached_by_its_next_one() {
    let (plane, _nodes) = start(&["n1"]).await;
    let rest = Rest::new(plane.client().await, "anew").await;
    let managed =
        json!({"metadata": {"annotations": {"volumes.kubernetes.io/controller-managed-attach-detach": "true"}}});
    rest.patch("/api/v1/nodes/n1", &managed).await;
    let source = json!({"csi": {"driver": "csi.example.com", "volumeHandle": "h"}});
    let is_of = |list: &Value, volume: &str| {
        let all = on(list, "n1");
        all.len() == 1 && all[0]["spec"]["source"]["persistentVolumeName"] == volume
    };
    for (object, asked, user) in [("old", "before", "p"), ("new", "after", "q")] {
        rest.create(VOLUMES, &volume(object, "none", source.clone())).await;
        rest.create("persistentvolumeclaims", &claim(asked, "none")).await;
        rest.until(&format!("persistentvolumeclaims/{asked}"), |own| own["status"]["phase"] == "Bound").await;
        rest.create("pods", &pod(user, asked, Some("n1"))).await;
        rest.until(ATTACHMENTS, |list| is_of(list, "old")).await;
    }
    rest.delete("pods/p", &Value::Null).await;
    rest.until("pods/p", Value::is_null).await;
    assert!(is_of(&rest.get(ATTACHMENTS).await, "old"), "its volume is there, and the attacher may be at it");
    // Its claim keeps it from being gone, and its attacher does nothing for it any more.
    rest.delete(&format!("{VOLUMES}/old"), &Value::Null).await;
    rest.until(ATTACHMENTS, |list| is_of(list, "new")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_waits_gets_what_its_pods_node_reaches() {
    let (plane, _nodes) = start(&["n1", "n2"]).await;
    let rest = Rest::new(plane.client().await, "late").await;
    let class = |name: &str, provisioner: &str| {
        json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name},
            "provisioner": provisioner, "volumeBindingMode": "WaitForFirstConsumer"})
    };
    rest.create(CLASSES, &class("local", "kubernetes.io/no-provisioner")).await;
    rest.create(CLASSES, &class("made", "csi.example.com")).await;
    let reach = json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [
        {"key": "kubernetes.io/hostname", "operator": "In", "values": ["n2"]}]}]}});
    rest.create(VOLUMES, &volume("on-n2", "local", json!({"local": {"path": "/data"}, "nodeAffinity": reach}))).await;
    rest.create("persistentvolumeclaims", &claim("there", "local")).await;
    rest.until("persistentvolumeclaims/there", |own| own["status"]["phase"] == "Pending").await;
    rest.create("pods", &pod("p", "there", None)).await;
    let seen = rest.until("pods/p", |pod| pod["spec"]["nodeName"].is_string()).await;
    assert_eq!(seen["spec"]["nodeName"], "n2");
    let seen = rest.until("persistentvolumeclaims/there", |own| own["status"]["phase"] == "Bound").await;
    assert_eq!(seen["spec"]["volumeName"], "on-n2");

    // One that is made: its provisioner is told of the node, and may want another.
    let note = "volume.kubernetes.io/selected-node";
    let selected = |own: &Value| own["metadata"]["annotations"][note].as_str().map(str::to_owned);
    rest.create("persistentvolumeclaims", &claim("new", "made")).await;
    rest.create("pods", &pod("q", "new", None)).await;
    let seen = rest.until("persistentvolumeclaims/new", |own| selected(own).is_some()).await;
    assert!(rest.get("pods/q").await["spec"]["nodeName"].is_null(), "it waits for its volume");
    rest.until("pods/q", |pod| pod["status"]["nominatedNodeName"].as_str() == selected(&seen).as_deref()).await;
    let elsewhere = if selected(&seen).as_deref() == Some("n1") { "n2" } else { "n1" };
    let full = selected(&seen).expect("a node");
    rest.patch(&format!("/api/v1/nodes/{full}"), &json!({"spec": {"unschedulable": true}})).await;
    // The scheduler may hear of the claim before it hears of the node: who cannot make it there takes the choice back again.
    let patience = Instant::now() + Duration::from_secs(180);
    while selected(&rest.get("persistentvolumeclaims/new").await).as_deref() != Some(elsewhere) {
        assert!(Instant::now() < patience, "the scheduler does not leave {full}");
        rest.patch("persistentvolumeclaims/new", &json!({"metadata": {"annotations": {note: null}}})).await;
        rest.until("persistentvolumeclaims/new", |own| selected(own).is_some()).await;
    }
    let seen = rest.get("persistentvolumeclaims/new").await;
    let mut made = volume("made", "made", json!({"csi": {"driver": "csi.example.com", "volumeHandle": "h"}}));
    made["spec"]["claimRef"] = json!({"kind": "PersistentVolumeClaim", "apiVersion": "v1", "name": "new",
        "namespace": "late", "uid": seen["metadata"]["uid"]});
    rest.create(VOLUMES, &made).await;
    let seen = rest.until("pods/q", |pod| pod["spec"]["nodeName"] == elsewhere).await;
    assert!(seen["status"]["nominatedNodeName"].is_null(), "it is there: {seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_gives_up_a_node_that_it_hoped_for_where_its_volume_is_not_made() {
    let (plane, _nodes) = start(&["n1", "n2"]).await;
    let rest = Rest::new(plane.client().await, "hoped").await;
    let class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "made"},
        "provisioner": "csi.example.com", "volumeBindingMode": "WaitForFirstConsumer"});
    rest.create(CLASSES, &class).await;
    rest.create("persistentvolumeclaims", &claim("c", "made")).await;
    let mut gated = pod("p", "c", None);
    gated["spec"]["schedulingGates"] = json!([{"name": "example.com/later"}]);
    rest.create("pods", &gated).await;
    // As a scheduler leaves it that ends while the volume is made.
    rest.patch("pods/p/status", &json!({"status": {"nominatedNodeName": "n2"}})).await;
    rest.patch("pods/p", &json!({"spec": {"schedulingGates": null}})).await;
    let note = "volume.kubernetes.io/selected-node";
    rest.until("persistentvolumeclaims/c", |own| own["metadata"]["annotations"][note] == "n2").await;
    rest.patch("persistentvolumeclaims/c", &json!({"metadata": {"annotations": {note: null}}})).await;
    rest.until("pods/p", |pod| pod["status"]["nominatedNodeName"].is_null()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_is_recycled_is_emptied_before_another_claim_gets_it() {
    let (plane, _nodes) = start(&["n1"]).await;
    let rest = Rest::new(plane.client().await, "recycled").await;
    let mut shared = volume("shared", "none", json!({"nfs": {"server": "192.0.2.1", "path": "/exports"}}));
    shared["spec"]["persistentVolumeReclaimPolicy"] = json!("Recycle");
    rest.create(VOLUMES, &shared).await;
    rest.create("persistentvolumeclaims", &claim("first", "none")).await;
    rest.until("persistentvolumeclaims/first", |own| own["status"]["phase"] == "Bound").await;
    rest.delete("persistentvolumeclaims/first", &Value::Null).await;
    let place = "/api/v1/namespaces/default/pods/recycler-for-shared";
    let pod = rest.until(place, Value::is_object).await;
    assert_eq!(pod["spec"]["volumes"][0]["nfs"], json!({"server": "192.0.2.1", "path": "/exports"}));
    let shared = format!("{VOLUMES}/shared");
    let waits = rest.get(&shared).await;
    assert_eq!((&waits["status"]["phase"], waits["spec"]["claimRef"].is_object()), (&json!("Released"), true));
    rest.patch(place, &json!({"metadata": {"annotations": {"test/exit": "0"}}})).await;
    let free = rest.until(&shared, |own| own["status"]["phase"] == "Available").await;
    assert!(free["spec"]["claimRef"].is_null(), "{free}");
    rest.until(place, Value::is_null).await;
    rest.create("persistentvolumeclaims", &claim("second", "none")).await;
    rest.until("persistentvolumeclaims/second", |own| own["spec"]["volumeName"] == "shared").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pods_own_claim_is_made_again_and_a_strange_one_of_its_name_is_told_of() {
    let (plane, _nodes) = start(&["n1"]).await;
    let rest = Rest::new(plane.client().await, "own").await;
    let asks = |name: &str| {
        let template = json!({"spec": claim("any", "none")["spec"]});
        let volumes = json!([{"name": "v", "ephemeral": {"volumeClaimTemplate": template}}]);
        let mut pod = pod(name, "any", None);
        pod["spec"]["volumes"] = volumes;
        pod
    };
    rest.create("persistentvolumeclaims", &claim("q-v", "none")).await;
    rest.create("pods", &asks("p")).await;
    let first = rest.until("persistentvolumeclaims/p-v", Value::is_object).await;
    rest.delete("persistentvolumeclaims/p-v", &Value::Null).await;
    let other = |own: &Value| own.is_object() && own["metadata"]["uid"] != first["metadata"]["uid"];
    rest.until("persistentvolumeclaims/p-v", other).await;
    rest.create("pods", &asks("q")).await;
    let told = "ephemeral volume v: PVC own/q-v was not created for pod own/q (pod is not owner)";
    rest.hears("q", "FailedBinding", |text| text == told).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_is_promised_to_a_claim_of_another_mode_is_not_bound_and_both_are_told() {
    let (plane, _nodes) = start(&["n1"]).await;
    let rest = Rest::new(plane.client().await, "modes").await;
    rest.create("persistentvolumeclaims", &claim("files", "none")).await;
    let uid = rest.get("persistentvolumeclaims/files").await["metadata"]["uid"].clone();
    let to =
        json!({"kind": "PersistentVolumeClaim", "apiVersion": "v1", "name": "files", "namespace": "modes", "uid": uid});
    let source =
        json!({"csi": {"driver": "csi.example.com", "volumeHandle": "h"}, "volumeMode": "Block", "claimRef": to});
    rest.create(VOLUMES, &volume("device", "none", source)).await;
    let told = |of: Value| {
        let mut all = of["items"].as_array().into_iter().flatten().cloned();
        all.find(|event| event["reason"] == "VolumeMismatch").unwrap_or(Value::Null)
    };
    let seen = rest.until("events", |all| !told(all.clone()).is_null()).await;
    let text =
        "Cannot bind PersistentVolume \"device\" to requested PersistentVolumeClaim due to incompatible volumeMode.";
    assert_eq!(told(seen)["message"], text);
    let all = "/api/v1/namespaces/default/events";
    let seen = rest.until(all, |all| !told(all.clone()).is_null()).await;
    let text =
        "Cannot bind PersistentVolume to requested PersistentVolumeClaim \"files\" due to incompatible volumeMode.";
    assert_eq!(told(seen)["message"], text);
    assert!(rest.get("persistentvolumeclaims/files").await["spec"]["volumeName"].is_null());
}

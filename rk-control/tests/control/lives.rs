//! Lives of pods, volumes and endpoints, as the community's suite asks; stand-ins play the nodes.

use crate::cluster::rest::{Rest, has, name};
use crate::cluster::start;
use serde_json::{Value, json};

fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "image": "example.com/i:1"}]}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_runs_is_changed_tells_its_status_and_goes() {
    let (plane, _nodes) = start(&["n1"]).await;
    let rest = Rest::new(plane.client().await, "pods").await;
    let mut own = pod("one");
    own["metadata"]["labels"]["static"] = json!("true");
    // A volume of a driver that lives as long as the pod.
    own["spec"]["volumes"] = json!([{"name": "v", "csi": {"driver": "csi.example.com", "readOnly": true,
        "volumeAttributes": {"size": "1"}, "nodePublishSecretRef": {"name": "s"}}}]);
    let driver = json!({"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": "csi.example.com"},
        "spec": {"volumeLifecycleModes": ["Ephemeral"], "attachRequired": false}});
    rest.create("/apis/storage.k8s.io/v1/csidrivers", &driver).await;
    rest.create("pods", &own).await;
    let seen = rest.until("pods/one", |pod| has(pod, "Ready")).await;
    assert_eq!(
        (&seen["status"]["phase"], &seen["spec"]["volumes"][0]),
        (&json!("Running"), &own["spec"]["volumes"][0])
    );
    let change = json!({"metadata": {"labels": {"patched": "yes"}}, "spec": {"terminationGracePeriodSeconds": 30,
        "containers": [{"name": "c", "image": "example.com/i:2"}]}});
    let seen = rest.patch_as("pods/one", "application/strategic-merge-patch+json", &change).await;
    assert_eq!(seen["spec"]["containers"][0]["image"], "example.com/i:2");
    assert_eq!(seen["metadata"]["generation"], 2);
    rest.set_ready("one", false).await;
    let seen = rest.get("pods/one/status").await;
    assert!(!has(&seen, "Ready") && seen["status"]["phase"] == "Running");
    let all = rest.items("/api/v1/pods?labelSelector=static=true").await;
    assert_eq!(all.iter().map(name).collect::<Vec<_>>(), ["one"]);
    rest.delete("pods?labelSelector=static=true", &Value::Null).await;
    rest.until("pods/one", Value::is_null).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_and_claims_are_bound_changed_replaced_and_removed() {
    let (plane, _) = start(&[]).await;
    let rest = Rest::new(plane.client().await, "volumes").await;
    const VOLUMES: &str = "/api/v1/persistentvolumes";
    for turn in ["first", "second"] {
        let labels = json!({"turn": turn});
        let volume = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": turn, "labels": labels},
            "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": turn,
            "persistentVolumeReclaimPolicy": "Retain", "csi": {"driver": "csi.example.com", "volumeHandle": turn}}});
        let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": turn, "labels": labels},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": turn, "resources": {"requests": {"storage": "1Gi"}}}});
        rest.create(VOLUMES, &volume).await;
        rest.create("persistentvolumeclaims", &claim).await;
        let (volume, claim) = (format!("{VOLUMES}/{turn}"), format!("persistentvolumeclaims/{turn}"));
        let bound = rest.until(&claim, |own| own["status"]["phase"] == "Bound").await;
        assert_eq!(bound["spec"]["volumeName"], turn);
        assert_eq!(
            rest.until(&volume, |own| own["status"]["phase"] == "Bound").await["spec"]["claimRef"]["name"],
            turn
        );
        for place in [&volume, &claim] {
            let seen = rest.patch(place, &json!({"metadata": {"labels": {"patched": "yes"}}})).await;
            assert_eq!(seen["metadata"]["labels"]["patched"], "yes");
        }
        let chosen = format!("?labelSelector=turn={turn}");
        assert_eq!(rest.items(&format!("/api/v1/persistentvolumeclaims{chosen}")).await.len(), 1);
        assert_eq!(rest.items(&format!("{VOLUMES}{chosen}")).await.len(), 1);
        // One by one, and then as collections.
        let (of_claim, of_volume) = match turn {
            "first" => (claim.clone(), volume.clone()),
            _ => (format!("persistentvolumeclaims{chosen}"), format!("{VOLUMES}{chosen}")),
        };
        rest.delete(&of_claim, &Value::Null).await;
        rest.until(&claim, Value::is_null).await;
        assert_eq!(
            rest.until(&volume, |own| own["status"]["phase"] == "Released").await["status"]["phase"],
            "Released"
        );
        rest.delete(&of_volume, &Value::Null).await;
        rest.until(&volume, Value::is_null).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_services_get_their_endpoints() {
    let (plane, _nodes) = start(&["n1"]).await;
    let rest = Rest::new(plane.client().await, "latency").await;
    rest.create("pods", &pod("web")).await;
    rest.until("pods/web", |pod| has(pod, "Ready")).await;
    for number in 0..100 {
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": format!("s{number}")},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}});
        rest.create("services", &service).await;
    }
    rest.until("endpoints", |list| {
        let items = list["items"].as_array().cloned().unwrap_or_default();
        items.iter().filter(|own| own["subsets"][0]["addresses"][0]["targetRef"]["name"] == "web").count() == 100
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_class_of_volume_attributes_goes_once_nobody_uses_it() {
    let (plane, _) = start(&[]).await;
    let rest = Rest::new(plane.client().await, "classes").await;
    let classes = "/apis/storage.k8s.io/v1/volumeattributesclasses";
    let (one, labelled) = (format!("{classes}/fast"), format!("{classes}?labelSelector=of=test"));
    let class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttributesClass", "driverName": "csi.example.com",
        "metadata": {"name": "fast", "labels": {"of": "test"}}, "parameters": {"iops": "100"}});
    // The name is free for a new one each time.
    for place in [&one, &labelled] {
        let made = rest.create(classes, &class).await;
        assert_eq!(made["metadata"]["finalizers"], json!(["kubernetes.io/vac-protection"]));
        rest.delete(place, &Value::Null).await;
        rest.until(&one, Value::is_null).await;
    }
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "user"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
            "storageClassName": "none", "volumeAttributesClassName": "fast"}});
    rest.create("persistentvolumeclaims", &claim).await;
    // Who tells that has it in its cache, which is everybody's: whoever lets classes go has heard of it, too.
    rest.hears("user", "ProvisioningFailed", |_| true).await;
    rest.create(classes, &class).await;
    rest.delete(&one, &Value::Null).await;
    assert!(rest.get(&one).await["metadata"]["deletionTimestamp"].is_string(), "a claim still names it");
    rest.delete("persistentvolumeclaims/user", &Value::Null).await;
    rest.until(&one, Value::is_null).await;
}

//! Pods that are resized, as the API sees them.

use serde_json::json;

use super::STRATEGIC;
use crate::support::{Cluster, PODS, pod};

#[tokio::test]
async fn a_pod_is_not_resized_beyond_its_node() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let node =
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n", "labels": {"kubernetes.io/os": "linux"}}});
    admin.create("/api/v1/nodes", &node).await.ok();
    let status = json!({"status": {"allocatable": {"cpu": "2", "memory": "1Gi"}}});
    admin.patch("/api/v1/nodes/n/status", STRATEGIC, &status).await.ok();
    let mut small = pod("small");
    small["spec"]["nodeName"] = json!("n");
    small["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "1"}});
    let made = admin.create(PODS, &small).await.ok();
    let resize = |cpu: &str| {
        let name = &made["spec"]["containers"][0]["name"];
        json!({"spec": {"containers": [{"name": name, "resources": {"requests": {"cpu": cpu}}}]}})
    };
    admin.patch(&format!("{PODS}/small/resize"), STRATEGIC, &resize("2")).await.ok();
    let refused = admin.patch(&format!("{PODS}/small/resize"), STRATEGIC, &resize("3")).await;
    let (code, message) = refused.failure();
    assert_eq!(code, 403);
    let why = "node didn't have enough allocatable resources: cpu, requested: 3000, allocatable: 2000";
    assert!(message.contains(why), "{message}");
    assert_eq!(refused.json()["details"]["causes"][0]["reason"], "NodeCapacity");
}

#[tokio::test]
async fn a_pod_is_resized_as_a_whole_where_its_node_can_do_that() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let node =
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n", "labels": {"kubernetes.io/os": "linux"}}});
    admin.create("/api/v1/nodes", &node).await.ok();
    let status = |features: &[&str]| json!({"status": {"allocatable": {"cpu": "4", "memory": "4Gi"}, "declaredFeatures": features}});
    admin.patch("/api/v1/nodes/n/status", STRATEGIC, &status(&[])).await.ok();
    let mut whole = pod("whole");
    whole["spec"]["nodeName"] = json!("n");
    whole["spec"]["resources"] = json!({"requests": {"cpu": "1"}, "limits": {"cpu": "2"}});
    admin.create(PODS, &whole).await.ok();
    let resize = json!({"spec": {"resources": {"requests": {"cpu": "1500m"}, "limits": {"cpu": "3"}}}});
    let (code, message) = admin.patch(&format!("{PODS}/whole/resize"), STRATEGIC, &resize).await.failure();
    let feature = "InPlacePodLevelResourcesVerticalScaling";
    let why = format!("pod update requires features {feature} which are not available on node \"n\"");
    assert!(code == 403 && message.contains(&why), "{message}");
    admin.patch("/api/v1/nodes/n/status", STRATEGIC, &status(&[feature])).await.ok();
    let seen = admin.patch(&format!("{PODS}/whole/resize"), STRATEGIC, &resize).await.ok();
    assert_eq!(seen["spec"]["resources"], json!({"requests": {"cpu": "1500m"}, "limits": {"cpu": "3"}}));
    assert_eq!(seen["metadata"]["generation"], 2);
    let without = json!({"spec": {"resources": null}});
    let (code, message) = admin.patch(&format!("{PODS}/whole/resize"), STRATEGIC, &without).await.failure();
    assert!(code == 422 && message.contains("pod-level resources cannot be removed"), "{message}");
}

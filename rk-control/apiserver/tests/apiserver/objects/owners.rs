//! Who owns what of an object, and since when.

use serde_json::{Value, json};

use super::MERGE;
use crate::support::{Cluster, MAPS, config_map, until};

const APPLY: &str = "application/apply-patch+yaml";
const POLICIES: &str = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies";

fn autoscalers(version: &str) -> String {
    format!("/apis/autoscaling/{version}/namespaces/default/horizontalpodautoscalers")
}

fn cpu(percent: i64) -> Value {
    json!([{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}}}])
}

/// The version in which a manager speaks, and what it owns.
fn entry(object: &Value, manager: &str) -> (Value, Value) {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let found = entries.into_iter().find(|entry| entry["manager"] == manager).unwrap_or_default();
    (found["apiVersion"].clone(), found["fieldsV1"]["f:spec"].clone())
}

#[tokio::test]
async fn owners_speak_the_version_of_their_request() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"});
    let config = json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"},
        "spec": {"scaleTargetRef": target, "maxReplicas": 3, "targetCPUUtilizationPercentage": 50}});
    let made = admin.create(&format!("{}?fieldManager=old", autoscalers("v1")), &config).await.ok();
    let (version, owned) = entry(&made, "old");
    assert_eq!(version, "autoscaling/v1");
    assert_eq!(owned.get("f:targetCPUUtilizationPercentage"), Some(&json!({})), "{owned}");
    let seen = admin.get(&format!("{}/a", autoscalers("v2"))).await.ok();
    assert_eq!(seen["metadata"]["managedFields"], made["metadata"]["managedFields"], "whoever looks at it");

    let change = |version: &str, manager: &str| format!("{}/a?fieldManager={manager}", autoscalers(version));
    let metrics = json!({"spec": {"metrics": cpu(60)}});
    let changed = admin.patch(&change("v2", "new"), MERGE, &metrics).await.ok();
    assert_eq!(entry(&changed, "new"), (json!("autoscaling/v2"), json!({"f:metrics": {}})));
    let (version, left) = entry(&changed, "old");
    assert_eq!((version, left.get("f:targetCPUUtilizationPercentage")), (json!("autoscaling/v1"), None));
    assert_eq!(left.get("f:maxReplicas"), Some(&json!({})), "{left}");
    // Seen in the words of v1, nothing of v2 changed.
    let third = admin.patch(&change("v1", "third"), MERGE, &json!({"spec": {"minReplicas": 2}})).await.ok();
    assert_eq!(entry(&third, "third"), (json!("autoscaling/v1"), json!({"f:minReplicas": {}})));
    assert_eq!(entry(&third, "new"), entry(&changed, "new"));

    let applied = json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"},
        "spec": {"targetCPUUtilizationPercentage": 70}});
    let (code, message) = admin.patch(&change("v1", "applier"), APPLY, &applied).await.failure();
    let why = "Apply failed with 1 conflict: conflict with \"new\" using autoscaling/v2: .spec.metrics";
    assert_eq!((code, message.as_str()), (409, why));
}

#[tokio::test]
async fn a_dry_run_answers_what_the_run_would() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    // What is applied lacks a default in a list that is owned whole: it changes something until defaults are filled in.
    let config = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "p"},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"ports": [{"port": 80}]}]}});
    let path = format!("{POLICIES}/p?fieldManager=m");
    let mut aged = admin.patch(&path, APPLY, &config).await.ok();
    aged["metadata"]["managedFields"][0]["time"] = json!("2020-01-02T03:04:05Z");
    aged["metadata"]["labels"] = json!({"a": "b"});
    let aged = admin.put(&format!("{POLICIES}/p"), &aged).await.ok();
    assert_eq!(aged["metadata"]["managedFields"][0]["time"], "2020-01-02T03:04:05Z");
    assert_eq!(admin.patch(&format!("{path}&dryRun=All"), APPLY, &config).await.ok(), aged);
    assert_eq!(admin.patch(&path, APPLY, &config).await.ok(), aged);
    // A PUT that names no version is told the one that it would replace.
    let map = admin.create(MAPS, &config_map("a", json!({"k": "1"}))).await.ok();
    let dry = admin.put(&format!("{MAPS}/a?dryRun=All"), &config_map("a", json!({"k": "2"}))).await.ok();
    assert_eq!(dry["metadata"]["resourceVersion"], map["metadata"]["resourceVersion"]);
}

/// Kinds of two versions that nobody converts, of which the older one knows no `depth`.
fn ponds() -> Value {
    let version = |name: &str, spec: Value| {
        let spec = json!({"type": "object", "properties": spec});
        let schema = json!({"type": "object", "properties": {"spec": spec}});
        json!({"name": name, "served": true, "storage": name == "v1", "schema": {"openAPIV3Schema": schema}})
    };
    let (size, depth) = (json!({"type": "integer", "default": 1}), json!({"type": "integer"}));
    let versions = [version("v1", json!({"size": size, "depth": depth})), version("v1beta1", json!({"size": size}))];
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "ponds.owners.example.com"},
        "spec": {"group": "owners.example.com", "scope": "Namespaced", "names": {"plural": "ponds", "kind": "Pond"},
            "versions": versions}})
}

#[tokio::test]
async fn what_an_older_version_knows_nothing_of_is_not_taken_away_by_its_owners() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    admin.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &ponds()).await.ok();
    let path = |version: &str| format!("/apis/owners.example.com/{version}/namespaces/default/ponds");
    until("the service of the definition", async || admin.get(&path("v1")).await.code == 200).await;
    let apply = async |name: &str, version: &str, spec: Value| {
        let config = json!({"apiVersion": format!("owners.example.com/{version}"), "kind": "Pond",
            "metadata": {"name": name}, "spec": spec});
        admin.patch(&format!("{}/{name}?fieldManager=a", path(version)), APPLY, &config).await.ok()
    };
    apply("one", "v1", json!({"size": 5})).await;
    let labels = json!({"metadata": {"labels": {"l": "1"}}});
    let labelled = admin.patch(&format!("{}/one?fieldManager=b", path("v1beta1")), MERGE, &labels).await.ok();
    assert_eq!(labelled["metadata"]["managedFields"].as_array().map(Vec::len), Some(2), "{labelled}");
    let deep = apply("one", "v1", json!({"size": 5, "depth": 7})).await;
    assert_eq!(deep["spec"], json!({"size": 5, "depth": 7}));
    assert_eq!(apply("one", "v1", json!({"size": 5, "depth": 7})).await, deep, "nothing changed");
    // What is let go has its default again, which is nobody's in any version.
    assert_eq!(apply("one", "v1", json!({"depth": 7})).await["spec"], json!({"size": 1, "depth": 7}));
    // Who moves to the newer version brings what is new in that, and lets go what it said in the older one.
    apply("two", "v1beta1", json!({"size": 5})).await;
    assert_eq!(apply("two", "v1", json!({"depth": 7})).await["spec"], json!({"size": 1, "depth": 7}));
}

#[tokio::test]
async fn what_is_too_large_with_its_owners_is_kept_without_them() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let members = (0..9999).map(|index| (format!("{:x<70}{index}", "k"), json!("A")));
    let data = Value::Object(members.collect());
    let owners = |object: &Value| object["metadata"]["managedFields"].as_array().map(Vec::len);
    let made = admin.create(MAPS, &config_map("made", data.clone())).await.ok();
    assert_eq!((owners(&made), &made["data"]), (None, &data));
    for name in ["put", "patched"] {
        let small = admin.create(MAPS, &config_map(name, json!({"k": "v"}))).await.ok();
        assert_eq!(owners(&small), Some(1));
    }
    let put = admin.put(&format!("{MAPS}/put"), &config_map("put", data.clone())).await.ok();
    assert_eq!((owners(&put), &put["data"]), (None, &data));
    let patched = admin.patch(&format!("{MAPS}/patched"), MERGE, &json!({"data": data})).await.ok();
    assert_eq!(owners(&patched), None);
    // Who applies is to own what is said.
    let applied = config_map("made", json!({"a": "b"}));
    let (code, message) = admin.patch(&format!("{MAPS}/made?fieldManager=m"), APPLY, &applied).await.failure();
    assert_eq!((code, message.as_str()), (500, "etcdserver: request is too large"));
}

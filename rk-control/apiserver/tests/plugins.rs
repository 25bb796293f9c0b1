//! What the plugins of admission add to objects, refuse and remark.

mod support;

use serde_json::{Value, json};
use support::{Answer, Cluster, PODS, pod};

const MERGE: &str = "application/merge-patch+json";
const NAMESPACES: &str = "/api/v1/namespaces";

/// The warnings of an answer, without their frame.
fn warnings(answer: &Answer) -> Vec<String> {
    let headers = answer.headers.get_all("warning").iter();
    headers.map(|value| value.to_str().unwrap().trim_start_matches("299 - ").replace('\\', "")).collect()
}

#[tokio::test]
async fn namespaces_are_refused_wrong_levels_and_told_of_pods_that_would_not_come_in() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let enforce = |level: &str| json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": level}}});
    let mut wrong = enforce("strict");
    wrong["apiVersion"] = json!("v1");
    wrong["kind"] = json!("Namespace");
    wrong["metadata"]["name"] = json!("n");
    let (code, message) = admin.create(NAMESPACES, &wrong).await.failure();
    let told = "metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"strict\": \
                must be one of privileged, baseline, restricted";
    assert_eq!((code, message), (422, format!("Namespace \"n\" is invalid: {told}")));

    for name in ["b", "a"] {
        let mut host = pod(name);
        host["spec"]["hostNetwork"] = json!(true);
        admin.create(PODS, &host).await.ok();
    }
    let path = format!("{NAMESPACES}/default");
    assert_eq!(admin.patch(&path, MERGE, &enforce("strict")).await.failure().0, 422);
    let answer = admin.patch(&path, MERGE, &enforce("baseline")).await;
    answer.ok();
    assert_eq!(
        warnings(&answer),
        [
            "\"existing pods in namespace \"default\" violate the new PodSecurity enforce level \"baseline:latest\"\"",
            "\"a (and 1 other pod): host namespaces\"",
        ]
    );
    // What is there already may change otherwise, and a level that asks for less is no news.
    admin.patch(&format!("{PODS}/a"), MERGE, &json!({"metadata": {"labels": {"app": "a"}}})).await.ok();
    let answer = admin.patch(&path, MERGE, &enforce("privileged")).await;
    answer.ok();
    assert!(warnings(&answer).is_empty());
}

#[tokio::test]
async fn pods_are_judged_by_the_release_that_their_namespace_names() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let enforce = |version: &str| json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/enforce-version": version}}});
    let probing = |name: &str| {
        let mut probing = pod(name);
        probing["spec"]["containers"][0]["livenessProbe"] = json!({"httpGet": {"host": "192.0.2.1", "port": 80}});
        probing
    };
    let path = format!("{NAMESPACES}/default");
    admin.patch(&path, MERGE, &enforce("v1.33")).await.ok();
    admin.create(PODS, &probing("old")).await.ok();
    admin.patch(&path, MERGE, &enforce("v1.34")).await.ok();
    let (code, message) = admin.create(PODS, &probing("new")).await.failure();
    assert_eq!(code, 403);
    assert!(
        message.ends_with(
            "violates PodSecurity \"baseline:v1.34\": probe or lifecycle host (container \"c\" uses probe or lifecycle host \"192.0.2.1\")"
        ),
        "{message}"
    );
}

#[tokio::test]
async fn pods_carry_the_zone_and_region_of_their_node() {
    const ZONE: &str = "topology.kubernetes.io/zone";
    const REGION: &str = "topology.kubernetes.io/region";
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let node = json!({"apiVersion": "v1", "kind": "Node",
        "metadata": {"name": "n", "labels": {ZONE: "z1", REGION: "r1", "topology.kubernetes.io/rack": "7"}}});
    admin.create("/api/v1/nodes", &node).await.ok();
    let binding = |to: &str, labels: Value| {
        json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p", "labels": labels},
            "target": {"apiVersion": "v1", "kind": "Node", "name": to}})
    };
    let mut scheduled = pod("p");
    scheduled["metadata"]["labels"] = json!({"app": "a", ZONE: "elsewhere"});
    admin.create(PODS, &scheduled).await.ok();
    admin.create(&format!("{PODS}/p/binding"), &binding("n", json!({"of": "scheduler"}))).await.ok();
    assert_eq!(
        admin.get(&format!("{PODS}/p")).await.ok()["metadata"]["labels"],
        json!({"app": "a", "of": "scheduler", ZONE: "z1", REGION: "r1"})
    );

    let mut placed = pod("q");
    placed["spec"]["nodeName"] = json!("n");
    let labels = json!({ZONE: "z1", REGION: "r1"});
    assert_eq!(admin.create(PODS, &placed).await.ok()["metadata"]["labels"], labels);
    let mut lost = pod("r");
    lost["spec"]["nodeName"] = json!("nowhere");
    assert_eq!(admin.create(PODS, &lost).await.ok()["metadata"]["labels"], Value::Null);
}

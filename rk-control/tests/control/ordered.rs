//! StatefulSets, as the community's suite asks of them; stand-ins play the nodes.

use crate::cluster::node::{LINGER, UNREADY};
use crate::cluster::rest::{Rest, has, name, workload};
use crate::cluster::start;
use serde_json::{Value, json};

const PODS: &str = "pods?labelSelector=app=db";

/// A set whose pods have annotations.
fn set(spec: Value, annotations: Value) -> Value {
    let mut set = workload("apps/v1", "StatefulSet", "db", spec, json!({}));
    set["spec"]["serviceName"] = json!("db");
    set["spec"]["template"]["metadata"]["annotations"] = annotations;
    set
}

fn names(pods: &[Value]) -> Vec<&str> {
    pods.iter().map(name).collect()
}

fn uid(object: &Value) -> Option<&str> {
    object["metadata"]["uid"].as_str()
}

fn revision(pod: &Value) -> &Value {
    &pod["metadata"]["labels"]["controller-revision-hash"]
}

/// Whether the controller has seen the latest spec and nothing is left to do.
fn settled(own: &Value, replicas: u64) -> bool {
    own["status"]["observedGeneration"] == own["metadata"]["generation"]
        && own["status"]["replicas"] == replicas
        && own["status"]["readyReplicas"].as_u64().unwrap_or(0) == replicas
}

/// Makes the controller look at another set from beginning to end, so that what it left undone before, it chose not to do.
async fn another_turn(rest: &Rest, turn: &str) {
    let other = workload("apps/v1", "StatefulSet", turn, json!({"serviceName": "other", "replicas": 1}), json!({}));
    rest.create("statefulsets", &other).await;
    rest.until(&format!("statefulsets/{turn}"), |own| settled(own, 1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stateful_sets_scale_one_by_one_and_halt_at_what_is_not_ready() {
    let (plane, _nodes) = start(&["n1"]).await;
    let rest = Rest::new(plane.client().await, "ordered").await;
    rest.create("statefulsets", &set(json!({"replicas": 3}), json!({UNREADY: "yes"}))).await;
    for (turn, have) in [["db-0"].as_slice(), &["db-0", "db-1"], &["db-0", "db-1", "db-2"]].into_iter().enumerate() {
        let last = format!("pods/{}", have[turn]);
        rest.until(&last, |pod| pod["status"]["phase"] == "Running").await;
        another_turn(&rest, &format!("up-{turn}")).await;
        assert_eq!(names(&rest.items(PODS).await), have, "no further pod before {last} is ready");
        rest.set_ready(have[turn], true).await;
    }
    rest.until("statefulsets/db", |own| settled(own, 3)).await;
    // Down in the other direction, and not while one of those that stay is sick.
    rest.set_ready("db-0", false).await;
    // Else it may hear of the size before it hears of the pod.
    rest.until("statefulsets/db", |own| own["status"]["readyReplicas"] == 2).await;
    rest.patch("statefulsets/db/scale", &json!({"spec": {"replicas": 1}})).await;
    rest.until("statefulsets/db", |own| own["status"]["observedGeneration"] == own["metadata"]["generation"]).await;
    another_turn(&rest, "sick").await;
    assert_eq!(names(&rest.items(PODS).await), ["db-0", "db-1", "db-2"]);
    rest.patch("pods/db-2", &json!({"metadata": {"annotations": {LINGER: "yes"}}})).await;
    rest.set_ready("db-0", true).await;
    rest.until("pods/db-2", |pod| pod["metadata"]["deletionTimestamp"].is_string()).await;
    another_turn(&rest, "down").await;
    assert!(rest.get("pods/db-1").await["metadata"]["deletionTimestamp"].is_null(), "the last one goes first");
    rest.patch("pods/db-2", &json!({"metadata": {"annotations": {LINGER: null}}})).await;
    let left = rest.count(PODS, 1).await;
    assert_eq!(name(&left[0]), "db-0");
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_sets_scale_all_at_once_whatever_their_pods_are_like() {
    let (plane, _nodes) = start(&["n1"]).await;
    let rest = Rest::new(plane.client().await, "burst").await;
    let spec = json!({"replicas": 2, "podManagementPolicy": "Parallel"});
    rest.create("statefulsets", &set(spec, json!({UNREADY: "yes"}))).await;
    rest.count(PODS, 2).await;
    rest.patch("statefulsets/db/scale", &json!({"spec": {"replicas": 4}})).await;
    let pods = rest.count(PODS, 4).await;
    assert_eq!(names(&pods), ["db-0", "db-1", "db-2", "db-3"]);
    assert!(!pods.iter().any(|pod| has(pod, "Ready")));
    rest.patch("statefulsets/db/scale", &json!({"spec": {"replicas": 2}})).await;
    assert_eq!(names(&rest.count(PODS, 2).await), ["db-0", "db-1"]);
    rest.patch("statefulsets/db/scale", &json!({"spec": {"replicas": 0}})).await;
    rest.count(PODS, 0).await;
    rest.until("statefulsets/db", |own| own["status"]["replicas"] == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_stop_at_the_partition_go_backwards_and_return_to_an_old_revision() {
    let (plane, _nodes) = start(&["n1"]).await;
    let rest = Rest::new(plane.client().await, "rolling").await;
    let image = |image: &str| json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}});
    let partition =
        |at: u8| json!({"spec": {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": at}}}});
    let mut own = set(json!({"replicas": 3}), json!({}));
    own["spec"]["updateStrategy"] = partition(3)["spec"]["updateStrategy"].clone();
    rest.create("statefulsets", &own).await;
    let seen = rest.until("statefulsets/db", |own| settled(own, 3)).await;
    let old = seen["status"]["currentRevision"].clone();
    assert_eq!(seen["status"]["updateRevision"], old);
    let uids: Vec<_> = rest.items(PODS).await.iter().map(|pod| uid(pod).map(str::to_owned)).collect();
    // Beyond the partition there is nothing.
    rest.patch("statefulsets/db", &image("example.com/i:2")).await;
    let seen = rest.until("statefulsets/db", |own| own["status"]["updateRevision"] != old).await;
    let new = seen["status"]["updateRevision"].clone();
    assert_eq!(seen["status"]["currentRevision"], old);
    another_turn(&rest, "beyond").await;
    assert!(rest.items(PODS).await.iter().all(|pod| *revision(pod) == old));
    // A canary.
    rest.patch("statefulsets/db", &partition(2)).await;
    let seen = rest.until("statefulsets/db", |own| own["status"]["updatedReplicas"] == 1 && settled(own, 3)).await;
    assert_eq!(seen["status"]["currentReplicas"], 2);
    let pods = rest.items(PODS).await;
    assert_eq!(pods.iter().map(revision).collect::<Vec<_>>(), [&old, &old, &new]);
    assert_eq!(uid(&pods[0]), uids[0].as_deref());
    // Pods that are lost come back as what they were.
    for pod in ["db-0", "db-2"] {
        let before = rest.get(&format!("pods/{pod}")).await;
        rest.delete(&format!("pods/{pod}"), &Value::Null).await;
        rest.until(&format!("pods/{pod}"), |own| has(own, "Ready") && uid(own) != uid(&before)).await;
    }
    rest.until("statefulsets/db", |own| settled(own, 3)).await;
    assert_eq!(rest.items(PODS).await.iter().map(revision).collect::<Vec<_>>(), [&old, &old, &new]);
    // The rest in two phases, the last one first.
    rest.patch("pods/db-1", &json!({"metadata": {"annotations": {LINGER: "yes"}}})).await;
    rest.patch("statefulsets/db", &partition(0)).await;
    rest.until("pods/db-1", |pod| pod["metadata"]["deletionTimestamp"].is_string()).await;
    another_turn(&rest, "phased").await;
    let first = rest.get("pods/db-0").await;
    assert!(first["metadata"]["deletionTimestamp"].is_null() && *revision(&first) == old);
    rest.patch("pods/db-1", &json!({"metadata": {"annotations": {LINGER: null}}})).await;
    rest.until("statefulsets/db", |own| own["status"]["currentRevision"] == new && settled(own, 3)).await;
    assert!(rest.items(PODS).await.iter().all(|pod| *revision(pod) == new));
    // Back: the old revision is used again.
    rest.patch("statefulsets/db", &image("example.com/i:1")).await;
    let seen = rest.until("statefulsets/db", |own| own["status"]["currentRevision"] == old && settled(own, 3)).await;
    assert_eq!((&seen["status"]["updateRevision"], &seen["status"]["updatedReplicas"]), (&old, &json!(3)));
    let pods = rest.items(PODS).await;
    assert!(pods.iter().all(|pod| *revision(pod) == old && pod["spec"]["containers"][0]["image"] == "example.com/i:1"));
    assert_eq!(rest.items("controllerrevisions?labelSelector=app=db").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_of_a_set_that_was_evicted_comes_back() {
    let (plane, _nodes) = start(&["n1"]).await;
    let rest = Rest::new(plane.client().await, "evicted").await;
    rest.create("statefulsets", &set(json!({"replicas": 1}), json!({}))).await;
    rest.until("statefulsets/db", |own| settled(own, 1)).await;
    let before = rest.get("pods/db-0").await;
    let failed =
        json!({"status": {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}});
    rest.patch("pods/db-0/status", &failed).await;
    rest.until("pods/db-0", |pod| has(pod, "Ready") && uid(pod) != uid(&before)).await;
    rest.until("statefulsets/db", |own| settled(own, 1)).await;
}

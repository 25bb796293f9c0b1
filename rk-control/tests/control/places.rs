//! Where pods go, who makes room for whom and who has to leave, as the community's suite asks; stand-ins play the nodes.

use crate::cluster::node::LINGER;
use crate::cluster::rest::{Rest, has, name, workload};
use crate::cluster::{eventually, start};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A pod that asks for CPU; `spec` is merged into its spec.
fn pod(name: &str, cpu: &str, spec: Value) -> Value {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "image": "example.com/i:1", "resources": {"requests": {"cpu": cpu}}}]}});
    for (key, value) in spec.as_object().cloned().unwrap_or_default() {
        pod["spec"][key] = value;
    }
    pod
}

fn listening(name: &str, address: Option<&str>, protocol: &str, port: u16) -> Value {
    let mut pod = pod(name, "10m", json!({}));
    pod["spec"]["containers"][0]["ports"] =
        json!([{"containerPort": 8080, "hostPort": port, "hostIP": address, "protocol": protocol}]);
    pod
}

fn is_placed(pod: &Value) -> bool {
    has(pod, "PodScheduled") && pod["spec"]["nodeName"].is_string()
}

fn condition<'a>(pod: &'a Value, kind: &str) -> Option<&'a Value> {
    pod["status"]["conditions"].as_array()?.iter().find(|own| own["type"] == kind)
}

/// Whether the scheduler has said that the pod goes nowhere, for a reason with these words.
fn waits(pod: &Value, why: &str) -> bool {
    condition(pod, "PodScheduled").is_some_and(|own| {
        own["reason"] == "Unschedulable" && own["message"].as_str().is_some_and(|message| message.contains(why))
    })
}

async fn class(rest: &Rest, name: &str, value: i64) {
    let class = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": value});
    rest.create("/apis/scheduling.k8s.io/v1/priorityclasses", &class).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_go_where_ports_room_and_labels_allow() {
    let (plane, _nodes) = start(&["n1", "n2"]).await;
    let rest = Rest::new(plane.client().await, "places").await;
    let on = json!({"kubernetes.io/hostname": "n1"});
    // One port of a host, on two addresses and with two protocols.
    for (name, address, protocol) in
        [("first", "127.0.0.1", "TCP"), ("second", "192.0.2.1", "TCP"), ("third", "192.0.2.1", "UDP")]
    {
        let mut pod = listening(name, Some(address), protocol, 54321);
        pod["spec"]["nodeSelector"] = on.clone();
        rest.create("pods", &pod).await;
        let seen = rest.until(&format!("pods/{name}"), is_placed).await;
        assert_eq!(seen["spec"]["nodeName"], "n1");
    }
    // All addresses of the host, and then one of them.
    for (name, address) in [("all", None), ("one", Some("127.0.0.1"))] {
        let mut pod = listening(name, address, "TCP", 54322);
        pod["spec"]["nodeSelector"] = on.clone();
        rest.create("pods", &pod).await;
    }
    rest.until("pods/all", is_placed).await;
    rest.until("pods/one", |pod| waits(pod, "1 node(s) didn't have free ports for the requested pod ports")).await;
    // A label that comes later.
    rest.create("pods", &pod("labelled", "10m", json!({"nodeSelector": {"example.com/color": "blue"}}))).await;
    rest.until("pods/labelled", |pod| waits(pod, "2 node(s) didn't match Pod's node affinity/selector")).await;
    rest.patch("/api/v1/nodes/n2", &json!({"metadata": {"labels": {"example.com/color": "blue"}}})).await;
    assert_eq!(rest.until("pods/labelled", is_placed).await["spec"]["nodeName"], "n2");
    // Both nodes have 4 CPUs: when each has a pod that leaves less than another one asks for, it waits until one goes.
    for name in ["filler-a", "filler-b"] {
        rest.create("pods", &pod(name, "3500m", json!({}))).await;
    }
    for name in ["filler-a", "filler-b"] {
        rest.until(&format!("pods/{name}"), is_placed).await;
    }
    rest.create("pods", &pod("beyond", "600m", json!({}))).await;
    rest.until("pods/beyond", |pod| waits(pod, "0/2 nodes are available: 2 Insufficient cpu.")).await;
    rest.delete("pods/filler-a", &Value::Null).await;
    rest.until("pods/beyond", is_placed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_important_take_the_place_of_the_unimportant() {
    let (plane, _nodes) = start(&["n1"]).await;
    let rest = Rest::new(plane.client().await, "preemption").await;
    for (name, value) in [("p1", 1), ("p2", 2), ("p3", 3), ("p4", 4)] {
        class(&rest, name, value).await;
    }
    // It leaves when it has said why.
    let mut held = pod("victim", "3", json!({"priorityClassName": "p1"}));
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    rest.create("pods", &held).await;
    rest.until("pods/victim", |pod| has(pod, "Ready")).await;
    rest.create("pods", &pod("winner", "3", json!({"priorityClassName": "p2"}))).await;
    let seen = rest.until("pods/victim", |pod| pod["metadata"]["deletionTimestamp"].is_string()).await;
    let told = condition(&seen, "DisruptionTarget").expect("told before it went");
    assert_eq!((&told["status"], &told["reason"]), (&json!("True"), &json!("PreemptionByScheduler")));
    assert_eq!(told["observedGeneration"], 1, "of the pod as it was before it was deleted");
    rest.patch("pods/victim", &json!({"metadata": {"finalizers": null}})).await;
    rest.until("pods/victim", Value::is_null).await;
    rest.until("pods/winner", |pod| has(pod, "Ready")).await;
    // A critical pod goes before all others.
    let critical = pod("critical", "3", json!({"priorityClassName": "system-cluster-critical"}));
    rest.create("/api/v1/namespaces/kube-system/pods", &critical).await;
    rest.until("/api/v1/namespaces/kube-system/pods/critical", is_placed).await;
    rest.until("pods/winner", Value::is_null).await;
    rest.delete("/api/v1/namespaces/kube-system/pods/critical", &Value::Null).await;
    // Of three sets the two least important ones lose their pods to a fourth.
    let set = |class: &str, replicas: u8| {
        let mut set = workload(
            "apps/v1",
            "ReplicaSet",
            class,
            json!({"replicas": replicas}),
            json!({"priorityClassName": class}),
        );
        set["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "900m"}});
        set
    };
    for (class, replicas) in [("p1", 1), ("p2", 1), ("p3", 2)] {
        rest.create("replicasets", &set(class, replicas)).await;
        rest.until(&format!("replicasets/{class}"), |own| own["status"]["readyReplicas"] == replicas).await;
    }
    rest.create("replicasets", &set("p4", 2)).await;
    rest.until("replicasets/p4", |own| own["status"]["readyReplicas"] == 2).await;
    let ready = async |class: &str| {
        let pods = rest.items(&format!("pods?labelSelector=app={class}")).await;
        pods.iter().filter(|pod| has(pod, "Ready") && pod["metadata"]["deletionTimestamp"].is_null()).count()
    };
    assert_eq!((ready("p1").await, ready("p2").await, ready("p3").await), (0, 0, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_hopes_for_a_node_gives_that_up_to_the_more_important() {
    let (plane, _nodes) = start(&["n1"]).await;
    let rest = Rest::new(plane.client().await, "hopes").await;
    for (name, value) in [("p1", 1), ("p2", 2), ("p3", 3)] {
        class(&rest, name, value).await;
    }
    for name in ["low-a", "low-b"] {
        let mut low = pod(name, "1500m", json!({"priorityClassName": "p1"}));
        low["metadata"]["annotations"] = json!({LINGER: "true"});
        rest.create("pods", &low).await;
        rest.until(&format!("pods/{name}"), |pod| has(pod, "Ready")).await;
    }
    let hopes = |pod: &Value| pod["status"]["nominatedNodeName"] == "n1";
    rest.create("pods", &pod("middle", "3", json!({"priorityClassName": "p2"}))).await;
    rest.until("pods/middle", hopes).await;
    rest.create("pods", &pod("high", "2500m", json!({"priorityClassName": "p3"}))).await;
    rest.until("pods/high", hopes).await;
    rest.until("pods/middle", |pod| pod["status"]["nominatedNodeName"].is_null()).await;
    assert!(hopes(&rest.get("pods/high").await), "those who are to leave have not left yet");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taint_drives_pods_out_when_their_time_is_up_and_not_when_it_is_gone_before() {
    let (plane, _nodes) = start(&["n1", "n2"]).await;
    let rest = Rest::new(plane.client().await, "taints").await;
    let staying = |node: &str, seconds: u32| {
        json!({"nodeSelector": {"kubernetes.io/hostname": node}, "tolerations": [
            {"key": "example.com/leave", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}]})
    };
    for (name, node, seconds) in [("soon", "n1", 1), ("later", "n1", 2), ("lucky", "n2", 9), ("last", "n1", 10)] {
        rest.create("pods", &pod(name, "10m", staying(node, seconds))).await;
        rest.until(&format!("pods/{name}"), |pod| has(pod, "Ready")).await;
    }
    let taints = |value: Value| json!({"spec": {"taints": value}});
    let taint = json!([{"key": "example.com/leave", "value": "now", "effect": "NoExecute"}]);
    let begun = Instant::now();
    rest.patch("/api/v1/nodes/n2", &taints(taint.clone())).await;
    rest.patch("/api/v1/nodes/n1", &taints(taint)).await;
    rest.patch("/api/v1/nodes/n2", &taints(Value::Null)).await;
    let in_time = begun.elapsed() < Duration::from_secs(8);
    for name in ["soon", "later", "last"] {
        let path = format!("pods/{name}");
        let seen = rest.until(&path, |pod| pod.is_null() || condition(pod, "DisruptionTarget").is_some()).await;
        let marked = |own: &Value| own["reason"] == "DeletionByTaintManager" && own["observedGeneration"] == 1;
        assert!(seen.is_null() || condition(&seen, "DisruptionTarget").is_some_and(marked), "{seen}");
        rest.until(&path, Value::is_null).await;
    }
    // Its time would have been up before that of the last one; on a machine that stalled for so long, it was.
    if in_time {
        let lucky = rest.get("pods/lucky").await;
        assert!(lucky["metadata"]["deletionTimestamp"].is_null() && has(&lucky, "Ready"), "{}", name(&lucky));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn components_write_under_their_own_names_and_tell_figures() {
    let (plane, _nodes) = start(&["n1"]).await;
    let rest = Rest::new(plane.client().await, "names").await;
    rest.create("deployments", &workload("apps/v1", "Deployment", "web", json!({"replicas": 1}), json!({}))).await;
    let managers = |own: &Value| {
        let entries = own["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        entries.iter().filter_map(|entry| entry["manager"].as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    for place in ["deployments/web", "replicasets?labelSelector=app=web", "/api/v1/nodes/n1"] {
        rest.until(place, |seen| {
            let object = if seen["items"].is_array() { &seen["items"][0] } else { seen };
            managers(object).iter().any(|own| own == "kube-controller-manager")
        })
        .await;
    }
    rest.create("pods", &pod("huge", "64", json!({}))).await;
    let waiting = rest.until("pods/huge", |pod| waits(pod, "Insufficient cpu")).await;
    assert!(managers(&waiting).iter().any(|own| own == "kube-scheduler"));
    let names = [
        "workqueue_adds_total{name=\"deployment\"}",
        "workqueue_depth{name=\"replicaset\"}",
        "workqueue_work_duration_seconds_count{name=\"deployment\"}",
        "scheduler_schedule_attempts_total{profile=\"default-scheduler\",result=\"scheduled\"}",
        "scheduler_pending_pods{queue=\"unschedulable\"} 1",
        "scheduler_scheduling_algorithm_duration_seconds_count ",
        "scheduler_pod_scheduling_sli_duration_seconds_count{attempts=",
        "scheduler_pod_scheduling_attempts_count ",
        "scheduler_queue_incoming_pods_total{event=\"UnschedulablePodAdd\",queue=\"active\"}",
        "scheduler_framework_extension_point_duration_seconds_count{extension_point=\"Bind\",profile=\"default-scheduler\",status=\"Success\"}",
        "scheduler_framework_extension_point_duration_seconds_count{extension_point=\"PostFilter\",profile=\"default-scheduler\",status=\"Unschedulable\"}",
        "leader_election_master_status{name=\"kube-scheduler\"} 1",
        "rest_client_requests_total{code=\"201\",host=\"in-process\",method=\"POST\"}",
        "rest_client_request_duration_seconds_count{host=\"in-process\",verb=\"POST\"}",
        "apiserver_storage_size_bytes{",
    ];
    // A pod that waits is tried now and then, and is in another queue meanwhile.
    eventually("every figure", || async {
        let figures = plane.kubectl("get --raw /metrics");
        let missing = names.iter().find(|name| !figures.lines().any(|line| line.starts_with(**name)));
        missing.map_or(Ok(()), |name| Err((*name).to_owned()))
    })
    .await;
}

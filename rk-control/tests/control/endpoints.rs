//! Endpoints of Services that depend on nodes.

use crate::behaviours::pod;
use crate::cluster::rest::Rest;
use crate::cluster::start;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Whether an event in the list begins with these words.
fn told(list: &Value, what: &str) -> bool {
    let mut all = list["items"].as_array().into_iter().flatten();
    all.any(|event| event["message"].as_str().is_some_and(|message| message.starts_with(what)))
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_are_for_clients_of_their_zone_where_a_service_asks_for_that() {
    const MODE: &str = "service.kubernetes.io/topology-mode";
    let (plane, _nodes) = start(&["n1", "n2"]).await;
    let rest = Rest::new(plane.client().await, "zones").await;
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "annotations": {MODE: "Auto"}},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}});
    rest.create("services", &service).await;
    for (node, zone) in [("n1", "a"), ("n2", "b")] {
        let mut pod = pod("web");
        (pod["metadata"]["name"], pod["spec"]["nodeName"]) = (json!(node), json!(node));
        rest.create("pods", &pod).await;
        let labels = json!({"topology.kubernetes.io/zone": zone});
        rest.patch(&format!("/api/v1/nodes/{node}"), &json!({"metadata": {"labels": labels}})).await;
    }
    let slices = "endpointslices?labelSelector=kubernetes.io/service-name=web";
    let are_for = |list: &Value, zones: fn(&Value) -> Value| {
        let endpoints = list["items"][0]["endpoints"].as_array();
        endpoints.is_some_and(|all| all.len() == 2 && all.iter().all(|own| own["hints"]["forZones"] == zones(own)))
    };
    let own = |endpoint: &Value| json!([{"name": endpoint["zone"].as_str().unwrap_or_default()}]);
    rest.until(slices, |list| are_for(list, own)).await;
    rest.until("events", |list| told(list, "Topology Aware Hints has been enabled, ")).await;
    rest.patch("services/web", &json!({"metadata": {"annotations": {MODE: null}}})).await;
    rest.until(slices, |list| are_for(list, |_| Value::Null)).await;
    rest.until("events", |list| told(list, "Topology Aware Hints has been disabled, ")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_is_no_endpoint_while_its_node_is_not_there() {
    let (plane, _nodes) = start(&[]).await;
    let rest = Rest::new(plane.client().await, "nodeless").await;
    for (name, any_state) in [("web", false), ("all", true)] {
        let spec = json!({"selector": {"app": "web"}, "publishNotReadyAddresses": any_state, "ports": [{"port": 80}]});
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec});
        rest.create("services", &service).await;
    }
    let mut pod = pod("web");
    pod["spec"]["nodeName"] = json!("late");
    rest.create("pods", &pod).await;
    let status = json!({"phase": "Running", "podIP": "10.244.9.9", "podIPs": [{"ip": "10.244.9.9"}]});
    rest.patch("pods/web/status", &json!({"status": status})).await;
    rest.set_ready("web", true).await;
    let slices = |service: &str| format!("endpointslices?labelSelector=kubernetes.io/service-name={service}");
    let has = |count: usize| move |list: &Value| list["items"][0]["endpoints"].as_array().map_or(0, Vec::len) == count;
    rest.until(&slices("all"), has(1)).await;
    let why = "skipping Pod web for Service nodeless/web: Node late Not Found";
    let what = format!("Error updating Endpoint Slices for Service nodeless/web: {why}");
    rest.until("events", |list| told(list, &what)).await;
    assert!(has(0)(&rest.get(&slices("web")).await));
    rest.create("/api/v1/nodes", &json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "late"}})).await;
    rest.until(&slices("web"), has(1)).await;
    let gone = Instant::now();
    rest.delete("/api/v1/nodes/late", &Value::Null).await;
    rest.until(&slices("web"), has(0)).await;
    // Forty seconds after its node it is collected; on a machine that stalled for so long, it was.
    let pod = rest.try_get("pods/web").await;
    if gone.elapsed() < Duration::from_secs(30) {
        let pod = pod.expect("the pod");
        assert!(pod["metadata"]["deletionTimestamp"].is_null(), "it has not been collected");
    }
}

//! Resizes that come while a pod's worker is at something else, through a real control plane.

use k8s_openapi::api::core::v1::{Node, Pod, PodStatus};
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::json;

use crate::support::{Rig, eventually, ready};

/// Turns the readiness of what is probed by `unready` over; its worker tells of that, whatever it is at.
fn turn_over(rig: &Rig) {
    let mut state = rig.cri.state();
    if state.failing_execs.remove("unready").is_none() {
        state.failing_execs.insert("unready".into(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resize_that_is_told_of_while_a_container_is_stopped_is_judged_all_the_same() {
    let rig = Rig::new().await;
    let probe = |command: &str| json!({"exec": {"command": [command]}, "periodSeconds": 1, "timeoutSeconds": 30, "failureThreshold": 1});
    let container = json!({"name": "c", "image": "img:1", "command": ["stubborn"],
        "resources": {"requests": {"cpu": "10m", "memory": "10Mi"}},
        "livenessProbe": probe("unhealthy"), "readinessProbe": probe("unready")});
    rig.create("busy", json!({"terminationGracePeriodSeconds": 600, "containers": [container]})).await;
    rig.status("busy", "the pod is ready", 60, ready).await;
    rig.cri.state().failing_execs.insert("unhealthy".into(), 1);
    eventually("the container is told to stop", 30, || async {
        let stops = rig.cri.state().calls.get("StopContainer").copied().unwrap_or_default();
        if stops >= 1 { Ok(()) } else { Err(format!("{stops} stops")) }
    })
    .await;
    // What comes to the kubelet all the same was let in while the Node told more than there is.
    let (nodes, pods): (Api<Node>, Api<Pod>) = (Api::all(rig.control.client.clone()), rig.pods());
    eventually("the API takes the resize", 60, || async {
        let more = json!({"status": {"allocatable": {"cpu": "10000"}}});
        let told = nodes.patch_status("node-a", &PatchParams::default(), &Patch::Merge(more)).await;
        told.map_err(|error| error.to_string())?;
        let body = json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "9000"}}}]}});
        let done = pods.patch_subresource("resize", "busy", &PatchParams::default(), &Patch::Strategic(body)).await;
        done.map(drop).map_err(|error| error.to_string())
    })
    .await;
    let told: PodStatus = eventually("the newer version is told of", 60, || async {
        turn_over(&rig);
        let status = pods.get("busy").await.map_err(|error| error.to_string())?.status.unwrap_or_default();
        if status.observed_generation == Some(2) { Ok(status) } else { Err(format!("{status:?}")) }
    })
    .await;
    assert_eq!(rig.cri.running("busy").len(), 1, "ten minutes are not over");
    let pending = told.conditions.iter().flatten().find(|c| c.type_ == "PodResizePending").expect("the condition");
    assert_eq!(pending.reason.as_deref(), Some("Infeasible"));
    rig.tells("busy", &["ResizeInfeasible"]).await;
    let of = told.container_statuses.unwrap().remove(0);
    assert_eq!(of.allocated_resources.unwrap()["cpu"].0, "10m", "what cannot be is not allocated");
    let soon = DeleteParams { grace_period_seconds: Some(1), ..Default::default() };
    rig.pods().delete("busy", &soon).await.unwrap();
    rig.gone("busy", 30).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_ends_well_for_a_resize_begins_anew() {
    let rig = Rig::new().await;
    let container = json!({"name": "c", "image": "img:1", "command": ["run"],
        "resources": {"requests": {"cpu": "10m", "memory": "10Mi"}},
        "resizePolicy": [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]});
    let spec = json!({"restartPolicy": "OnFailure", "terminationGracePeriodSeconds": 1, "containers": [container]});
    rig.create("batch", spec).await;
    rig.status("batch", "the pod is ready", 60, ready).await;
    let body = json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "20m"}}}]}});
    rig.pods().patch_subresource("resize", "batch", &PatchParams::default(), &Patch::Strategic(body)).await.unwrap();
    let again = |status: &PodStatus| {
        let container = status.container_statuses.iter().flatten().next();
        ready(status) && container.is_some_and(|container| container.restart_count == 1)
    };
    let told = rig.status("batch", "its container runs again", 60, again).await;
    let before = told.container_statuses.unwrap().remove(0).last_state.unwrap().terminated.unwrap();
    assert_eq!(before.exit_code, 0, "a policy of OnFailure begins nothing anew that ended so");
}

/// Thousandths of a CPU.
fn milli(cpu: &str) -> i64 {
    cpu.strip_suffix('m').map_or_else(|| cpu.parse::<i64>().unwrap() * 1000, |milli| milli.parse().unwrap())
}

fn burstable(milli: i64) -> serde_json::Value {
    json!({"requests": {"cpu": format!("{milli}m"), "memory": "10Mi"}})
}

fn deferred(status: &PodStatus) -> bool {
    let pending = status.conditions.iter().flatten().find(|c| c.type_ == "PodResizePending");
    pending.is_some_and(|c| c.reason.as_deref() == Some("Deferred"))
}

/// What the only container of a pod is given, thousandths of a CPU.
fn has(status: &PodStatus) -> Option<i64> {
    let of = status.container_statuses.iter().flatten().next().and_then(|c| c.allocated_resources.clone());
    of.map(|amounts| milli(&amounts["cpu"].0))
}

/// What the node has for pods, thousandths of a CPU.
async fn allocatable(rig: &Rig) -> i64 {
    let nodes: Api<Node> = Api::all(rig.control.client.clone());
    let node = nodes.get("node-a").await.unwrap().status.unwrap();
    milli(&node.allocatable.unwrap()["cpu"].0)
}

async fn begin(rig: &Rig, name: &str, resources: serde_json::Value) {
    let container = json!({"name": "c", "image": "img:1", "command": ["run"], "resources": resources});
    rig.create(name, json!({"terminationGracePeriodSeconds": 1, "containers": [container]})).await;
    rig.status(name, "the pod is ready", 60, ready).await;
}

async fn resize(rig: &Rig, name: &str, resources: serde_json::Value) {
    let body = json!({"spec": {"containers": [{"name": "c", "resources": resources}]}});
    rig.pods().patch_subresource("resize", name, &PatchParams::default(), &Patch::Strategic(body)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn room_that_a_resize_gives_back_is_given_at_once_to_who_waits_for_it() {
    let rig = Rig::new().await;
    let all = allocatable(&rig).await;
    let (most, little) = (all * 2 / 3, all / 16);
    for (name, milli) in [("gives", most), ("waits", little)] {
        begin(&rig, name, burstable(milli)).await;
    }
    resize(&rig, "waits", burstable(most)).await;
    rig.status("waits", "its resize waits", 60, deferred).await;
    resize(&rig, "gives", burstable(little)).await;
    // Sooner than a worker looks without a reason.
    let waited = rig.status("waits", "it has what it asks for", 40, |status| has(status) == Some(most)).await;
    assert!(!deferred(&waited), "{waited:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn room_that_comes_free_goes_to_the_resize_whose_turn_it_is() {
    let rig = Rig::new().await;
    let all = allocatable(&rig).await;
    let (most, little) = (all * 2 / 3, all / 16);
    let guaranteed = |milli: i64| {
        let amounts = json!({"cpu": format!("{milli}m"), "memory": "10Mi"});
        json!({"requests": amounts, "limits": amounts})
    };
    for (name, resources) in [("fills", burstable(most)), ("early", burstable(little)), ("late", guaranteed(little))] {
        begin(&rig, name, resources).await;
    }
    for (name, resources) in [("early", burstable(most)), ("late", guaranteed(most))] {
        resize(&rig, name, resources).await;
        let told = rig.status(name, "its resize waits", 60, deferred).await;
        assert_eq!(has(&told), Some(little), "{name}");
    }
    rig.pods().delete("fills", &DeleteParams::default()).await.unwrap();
    let late = rig.status("late", "it has what it asks for", 90, |status| has(status) == Some(most)).await;
    assert!(!deferred(&late), "{late:?}");
    let early = rig.status("early", "its resize waits on", 60, deferred).await;
    assert_eq!(has(&early), Some(little), "a Guaranteed pod comes first");
    rig.pods().delete("late", &DeleteParams::default()).await.unwrap();
    rig.status("early", "it has what it asks for", 90, |status| has(status) == Some(most)).await;
}

//! A stand-in for nodes: it registers them, renews their Leases, and lets pods run and end as a kubelet reports it.
//!
//! A pod with the annotation `test/exit` ends with that code; all others run until they are deleted. `0=1,1=0` gives pods of an
//! indexed Job a code by their index, and lets the others run.

use jiff_time::now;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::task::JoinHandle;

const TURN: Duration = Duration::from_millis(150);
/// Heartbeats come every so many turns.
const HEARTBEAT: u32 = 20;

mod jiff_time {
    /// The time as the API writes it.
    pub fn now() -> String {
        k8s_openapi::jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
    }
}

/// Running stand-ins; they fall silent when dropped.
pub struct Nodes {
    task: JoinHandle<()>,
}

/// An annotation of pods that go on running after they were deleted, until it is taken away.
pub const LINGER: &str = "test/linger";
/// An annotation of pods that run without ever becoming ready by themselves.
pub const UNREADY: &str = "test/unready";

impl Drop for Nodes {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Nodes {
    /// Registers nodes and plays their kubelets. API failures (a restart) are retried in the next turn.
    pub async fn start(client: Client, names: &[&str]) -> Self {
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        for name in &names {
            let node = json!({"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}});
            let _ = Api::<Node>::all(client.clone()).create(&PostParams::default(), &from(node)).await;
            let lease =
                json!({"metadata": {"name": name}, "spec": {"holderIdentity": name, "leaseDurationSeconds": 40}});
            let _ = Api::<Lease>::namespaced(client.clone(), "kube-node-lease")
                .create(&PostParams::default(), &from(lease))
                .await;
        }
        let task = tokio::spawn(async move {
            for turn in 0u32.. {
                if turn % HEARTBEAT == 0 {
                    for (at, name) in names.iter().enumerate() {
                        heartbeat(&client, name, at).await;
                    }
                }
                play(&client, &names, turn).await;
                tokio::time::sleep(TURN).await;
            }
        });
        Self { task }
    }
}

fn from<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("valid object")
}

async fn heartbeat(client: &Client, name: &str, at: usize) {
    let merge = PatchParams::default();
    let lease = json!({"spec": {"renewTime": now()}});
    let _ = Api::<Lease>::namespaced(client.clone(), "kube-node-lease").patch(name, &merge, &Patch::Merge(lease)).await;
    let room = json!({"cpu": "4", "memory": "8Gi", "pods": "110"});
    let status = json!({"status": {"capacity": room, "allocatable": room,
        "addresses": [{"type": "InternalIP", "address": format!("192.0.2.{}", at + 1)}, {"type": "Hostname", "address": name}],
        "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "lastHeartbeatTime": now(), "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
    let _ = Api::<Node>::all(client.clone()).patch_status(name, &merge, &Patch::Merge(status)).await;
}

async fn play(client: &Client, names: &[String], turn: u32) {
    let Ok(pods) = Api::<Pod>::all(client.clone()).list(&ListParams::default()).await else { return };
    for (at, pod) in pods.items.iter().enumerate() {
        let ours = pod.spec.as_ref().and_then(|s| s.node_name.as_ref()).is_some_and(|n| names.contains(n));
        if !ours {
            continue;
        }
        let api = Api::<Pod>::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
        let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default();
        if pod.metadata.deletion_timestamp.is_some() {
            if !pod.annotations().contains_key(LINGER) {
                end(&api, pod, phase).await;
            }
        } else if phase == "Pending" {
            let ip = format!("10.244.{}.{}", turn % 250, at % 250 + 2);
            report(
                &api,
                pod,
                json!({"phase": "Running", "startTime": now(), "podIP": ip, "podIPs": [{"ip": ip}]}),
                !pod.annotations().contains_key(UNREADY),
            )
            .await;
        } else if let (Some(code), "Running") = (exit_code(pod), phase) {
            let containers: Vec<Value> = pod
                .spec
                .iter()
                .flat_map(|s| &s.containers)
                .map(|c| {
                    json!({"name": c.name, "image": "", "imageID": "", "ready": false,
                "restartCount": 0, "state": {"terminated": {"exitCode": code, "finishedAt": "2026-01-01T00:00:00Z"}}})
                })
                .collect();
            report(
                &api,
                pod,
                json!({"phase": if code == 0 { "Succeeded" } else { "Failed" }, "containerStatuses": containers}),
                false,
            )
            .await;
        }
    }
}

/// The code that a pod is to end with.
fn exit_code(pod: &Pod) -> Option<i32> {
    let wanted = pod.annotations().get("test/exit")?;
    let index =
        pod.annotations().get("batch.kubernetes.io/job-completion-index").map(String::as_str).unwrap_or_default();
    let own =
        wanted.split(',').find_map(|rule| rule.split_once('=').filter(|(of, _)| *of == index).map(|(_, code)| code));
    own.unwrap_or(wanted).parse().ok()
}

/// First the end of the containers, then of the pod, as a kubelet does.
async fn end(api: &Api<Pod>, pod: &Pod, phase: &str) {
    if !matches!(phase, "Failed" | "Succeeded") {
        report(api, pod, json!({"phase": "Failed"}), false).await;
    }
    let _ = api.delete(&pod.name_any(), &DeleteParams::default().grace_period(0)).await;
}

async fn report(api: &Api<Pod>, pod: &Pod, mut status: Value, ready: bool) {
    let mut conditions: Vec<Value> = pod
        .status
        .iter()
        .flat_map(|s| s.conditions.iter().flatten())
        .filter(|c| c.type_ != "Ready")
        .map(|c| json!(c))
        .collect();
    conditions
        .push(json!({"type": "Ready", "status": if ready { "True" } else { "False" }, "lastTransitionTime": now()}));
    status["conditions"] = json!(conditions);
    let _ = api.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(json!({"status": status}))).await;
}

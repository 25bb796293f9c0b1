//! What only machines show: boot, readiness, pods.

use super::host::{mb, ms};
use super::table::Row;
use crate::report::Step;
use anyhow::{Context, Result, bail};
use rk_qemu::Artifacts;
use rk_qemu::cluster::{Cluster, ClusterSpec, label_control_plane, wait_ready};
use rk_qemu::kube::Api;
use rk_qemu::oci::{Archive, push};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Pods that are measured one after the other.
const PODS: usize = 20;
/// Under KVM; scaled for TCG.
const READY_LIMIT: Duration = Duration::from_secs(120);
const POD_LIMIT: Duration = Duration::from_secs(60);

/// Boots one control plane and one worker and measures them.
pub fn measure(artifacts: &Artifacts, step: &Step) -> Result<Vec<Row>> {
    let mut spec = ClusterSpec::new("bench", &artifacts.work.join("bench"), artifacts);
    spec.workers = 1;
    let begin = Instant::now();
    let mut cluster = Cluster::start(&spec)?;
    push(&cluster.registry().client(), &Archive::open(&artifacts.images.join("busybox"), None)?)?;
    step.say("waiting for nodes");
    let api = cluster.api()?;
    wait_ready(&api, 2, artifacts.accel.scale(READY_LIMIT), |_| {}, || Ok(()))?;
    let ready = begin.elapsed();
    label_control_plane(&api)?;
    let mut rows = vec![Row::new("machines on to all nodes Ready (1 + 1)", ms(ready), "kernel to PID 1 ≤ 1 s, PID 1 to Ready ≤ 3 s")];
    for node in ["control-plane", "worker-1"] {
        let kib = cluster.vm(node)?.resident_kib().unwrap_or(0);
        rows.push(Row::new(format!("QEMU of {node}: resident"), mb(kib * 1024), "—"));
    }
    let mut times = Vec::new();
    for n in 0..PODS {
        step.at(n as u64, PODS as u64);
        times.push(pod(&api, n, artifacts.accel.scale(POD_LIMIT))?);
    }
    // The first pod pulls the image.
    let first = times.first().copied().unwrap_or_default();
    let mut warm = times.get(1..).unwrap_or_default().to_vec();
    warm.sort();
    let at = |share: usize| warm.get((warm.len() * share / 100).min(warm.len().saturating_sub(1))).copied().unwrap_or_default();
    rows.push(Row::new("pod create to Running, with pull", ms(first), "—"));
    rows.push(Row::new("pod create to Running, image present, median", ms(at(50)), "—"));
    rows.push(Row::new("pod create to Running, image present, p99", ms(at(99)), "≤ 300 ms outside TCG"));
    Ok(rows)
}

/// Creates a pod on the worker and waits until the API says Running.
fn pod(api: &Api, n: usize, limit: Duration) -> Result<Duration> {
    let name = format!("bench-{n}");
    let container = json!({"name": "main", "image": "rk.local/busybox:demo", "command": ["sleep", "3600"]});
    let spec = json!({"containers": [container], "terminationGracePeriodSeconds": 1, "nodeName": "worker-1"});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec});
    let begin = Instant::now();
    api.create("/api/v1/namespaces/default/pods", &pod).with_context(|| format!("create pod {name}"))?;
    loop {
        let seen = api.get(&format!("/api/v1/namespaces/default/pods/{name}"))?;
        if seen.pointer("/status/phase").and_then(Value::as_str) == Some("Running") {
            return Ok(begin.elapsed());
        }
        if begin.elapsed() > limit {
            bail!("pod {name} did not run within {limit:?}: {}", seen.pointer("/status").unwrap_or(&Value::Null));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

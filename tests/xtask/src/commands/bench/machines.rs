//! What only machines show: boot, readiness, memory, pods, Services.

use super::host::{mb, ms};
use super::memory;
use super::table::Row;
use crate::report::Step;
use anyhow::{Context, Result, bail};
use rk_qemu::cluster::{Cluster, ClusterSpec, NODE_PORT, label_control_plane, wait_ready};
use rk_qemu::http::Client;
use rk_qemu::kube::Api;
use rk_qemu::oci::{Archive, push};
use rk_qemu::{Artifacts, wait};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

/// Pods that are measured one after the other.
const PODS: usize = 20;
/// Services that are measured one after the other.
const SERVICES: usize = 5;
/// Boots of the worker.
const BOOTS: usize = 3;
/// Under KVM; scaled for TCG.
const READY_LIMIT: Duration = Duration::from_secs(120);
const POD_LIMIT: Duration = Duration::from_secs(60);
const NODES: [&str; 2] = ["control-plane", "worker-1"];

/// A cluster under measurement.
struct Bench<'a> {
    artifacts: &'a Artifacts,
    cluster: Cluster,
    api: Api,
}

/// Boots one control plane and one worker and measures them.
pub fn measure(artifacts: &Artifacts, step: &Step) -> Result<Vec<Row>> {
    let mut spec = ClusterSpec::new("bench", &artifacts.work.join("bench"), artifacts);
    spec.workers = 1;
    let begin = Instant::now();
    let cluster = Cluster::start(&spec)?;
    for image in ["busybox", "nginx"] {
        push(&cluster.registry().client(), &Archive::open(&artifacts.images.join(image), None)?)?;
    }
    step.say("waiting for nodes");
    let api = cluster.api()?;
    let mut bench = Bench { artifacts, cluster, api };
    bench.wait_nodes()?;
    let mut rows = vec![Row::new("machines on to all nodes Ready (1 + 1, at once)", ms(begin.elapsed()), "—")];
    label_control_plane(&bench.api)?;
    step.say("booting the worker");
    rows.extend(bench.boots()?);
    step.say("memory");
    rows.extend(bench.memory("idle")?);
    rows.extend(bench.pods(step)?);
    step.say("memory");
    rows.extend(bench.memory(&format!("{PODS} pods"))?);
    step.say("services");
    rows.push(bench.services()?);
    Ok(rows)
}

impl Bench<'_> {
    fn wait_nodes(&self) -> Result<()> {
        Ok(wait_ready(&self.api, NODES.len(), self.artifacts.accel.scale(READY_LIMIT), |_| {}, || Ok(()))?)
    }

    fn limit(&self) -> Duration {
        self.artifacts.accel.scale(POD_LIMIT)
    }

    /// The worker alone, while the control plane runs: kernel to PID 1 by the guest's clock, PID 1 to Ready by ours.
    fn boots(&mut self) -> Result<Vec<Row>> {
        let (mut kernel, mut ready) = (Vec::new(), Vec::new());
        for _ in 0..BOOTS {
            self.cluster.kill_node("worker-1")?;
            self.api.delete("/api/v1/nodes/worker-1")?;
            let mark = self.cluster.console("worker-1")?.mark();
            self.cluster.start_node("worker-1")?;
            let limit = self.artifacts.accel.scale(READY_LIMIT);
            let line = self.cluster.vm("worker-1")?.wait_console_from(mark, "pid 1 began at", limit)?;
            let seen = Instant::now();
            let (began, said) = (number_after(&line, "began at ")?, number_after(&line, "config after ")?);
            kernel.push(Duration::from_millis(began));
            self.wait_nodes()?;
            ready.push(seen.elapsed() + Duration::from_millis(said.saturating_sub(began)));
        }
        Ok(vec![
            Row::new(format!("kernel start to PID 1, median of {BOOTS}"), ms(median(&mut kernel)), "≤ 1 s"),
            Row::new(format!("PID 1 to Node Ready, joining anew, median of {BOOTS}"), ms(median(&mut ready)), "≤ 3 s"),
        ])
    }

    /// Memory of both nodes; starts the pods that read it when they are not there.
    fn memory(&mut self, state: &str) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        for node in NODES {
            let pod = memory::probe_pod(node);
            let name = format!("probe-{node}");
            if self.api.get(&path(&name)).is_err() {
                self.api.create(POD_PATH, &pod).with_context(|| format!("create pod {name}"))?;
            }
            self.running(&name)?;
            let usages = memory::read(self.artifacts, self.cluster.kubeconfig(), node)?;
            rows.extend(memory::rows(node, state, &usages));
            let kib = self.cluster.vm(node)?.resident_kib().unwrap_or(0);
            rows.push(Row::new(format!("QEMU of {node}, {state}: resident"), mb(kib * 1024), "—"));
        }
        Ok(rows)
    }

    fn pods(&self, step: &Step) -> Result<Vec<Row>> {
        let mut times = Vec::new();
        for n in 0..PODS {
            step.at(n as u64, PODS as u64);
            times.push(self.pod(&format!("bench-{n}"), json!({"image": "rk.local/nginx:demo"}))?);
        }
        // The first pod pulls the image.
        let first = times.first().copied().unwrap_or_default();
        let mut warm = times.get(1..).unwrap_or_default().to_vec();
        let middle = median(&mut warm);
        let worst = warm.last().copied().unwrap_or_default();
        Ok(vec![
            Row::new("pod create to Running, with pull", ms(first), "—"),
            Row::new("pod create to Running, image present, median", ms(middle), "—"),
            Row::new(
                format!("pod create to Running, image present, worst of {}", PODS - 1),
                ms(worst),
                "≤ 300 ms outside TCG",
            ),
        ])
    }

    /// Creates a pod on the worker and waits until the API says Running.
    fn pod(&self, name: &str, container: Value) -> Result<Duration> {
        let mut container = container;
        container["name"] = json!("main");
        let spec = json!({"containers": [container], "terminationGracePeriodSeconds": 1, "nodeName": "worker-1"});
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "bench"}}, "spec": spec});
        let begin = Instant::now();
        self.api.create(POD_PATH, &pod).with_context(|| format!("create pod {name}"))?;
        self.running(name)?;
        Ok(begin.elapsed())
    }

    fn running(&self, name: &str) -> Result<()> {
        let begin = Instant::now();
        loop {
            let seen = self.api.get(&path(name))?;
            if seen.pointer("/status/phase").and_then(Value::as_str) == Some("Running") {
                return Ok(());
            }
            if begin.elapsed() > self.limit() {
                bail!("pod {name} did not run in time: {}", seen.pointer("/status").unwrap_or(&Value::Null));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// From the creation of a Service over running pods to the first answer through its node port.
    fn services(&self) -> Result<Row> {
        let forward =
            self.cluster.state().node("worker-1").and_then(|n| n.forwards.iter().find(|f| f.guest == NODE_PORT));
        let forward = forward.context("no forward of the node port")?;
        let client =
            Client::plain(SocketAddr::from((Ipv4Addr::LOCALHOST, forward.host))).with_limit(Duration::from_secs(2));
        let answers = || client.get("/").is_ok_and(|a| a.status == 200);
        let mut times = Vec::new();
        for n in 0..SERVICES {
            let name = format!("bench-{n}");
            let spec = json!({"type": "NodePort", "selector": {"app": "bench"}, "ports": [{"port": 80, "nodePort": NODE_PORT}]});
            let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec});
            let begin = Instant::now();
            self.api.create(SERVICE_PATH, &service).context("create a Service")?;
            wait::until("the first answer", self.limit(), || {
                if answers() { Ok(()) } else { Err("no answer".to_owned()) }
            })?;
            times.push(begin.elapsed());
            self.api.delete(&format!("{SERVICE_PATH}/{name}"))?;
            wait::until("the Service to go", self.limit(), || {
                if answers() { Err("it answers".to_owned()) } else { Ok(()) }
            })?;
        }
        let what = format!("Service create to first answer through its node port, 20 endpoints, median of {SERVICES}");
        Ok(Row::new(what, ms(median(&mut times)), "—"))
    }
}

const POD_PATH: &str = "/api/v1/namespaces/default/pods";
const SERVICE_PATH: &str = "/api/v1/namespaces/default/services";

fn path(pod: &str) -> String {
    format!("{POD_PATH}/{pod}")
}

/// Sorts, and answers the middle.
pub fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// The whole number that follows `label` in a line of a console.
pub fn number_after(line: &str, label: &str) -> Result<u64> {
    let digits = line.split(label).nth(1).map(|rest| rest.chars().take_while(char::is_ascii_digit).collect::<String>());
    digits.and_then(|d| d.parse().ok()).with_context(|| format!("no number after {label:?} in {line:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_from_what_pid_1_says() {
        let line = "rk: rk 0.1.0 ready for its config after 950 ms (pid 1 began at 812 ms)";
        assert_eq!(
            (number_after(line, "began at ").unwrap(), number_after(line, "config after ").unwrap()),
            (812, 950)
        );
        assert!(number_after("rk: hello", "began at ").is_err());
    }
}

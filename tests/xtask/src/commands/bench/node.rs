//! A worker at work: containers one after the other, pods at once, many idle pods, and images, beside other runtimes where these run.

use super::host::{mb, ms};
use super::table::Row;
use super::{memory, peers};
use crate::report::Step;
use anyhow::{Context, Result, bail};
use rk_qemu::Artifacts;
use rk_qemu::cluster::{Cluster, ClusterSpec, label_control_plane, wait_ready};
use rk_qemu::kube::Api;
use rk_qemu::oci::{Archive, Entry, ImageConfig, ImageName, push, write_layout};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Containers of each runtime.
const CYCLES: &str = "20";
/// How much of it: pods of the bench's own come on top.
pub struct Size {
    /// Pods that are started at once, and how often.
    batches: [(usize, usize); 3],
    /// Idle pods, one number after the other.
    idle: &'static [usize],
    /// Most pods of a node.
    max_pods: u32,
    /// Prefix length of a node's range of pods; the usual one holds 253.
    node_mask: Option<u32>,
    /// Of each machine.
    memory_mib: u64,
}

/// As many idle pods as upstream allows on a node, and as many as large nodes are given.
pub const FULL: Size = Size {
    batches: [(1, 100), (10, 10), (100, 3)],
    idle: &[110, 500],
    max_pods: 550,
    node_mask: Some(22),
    memory_mib: 4096,
};
/// What fits beside other work.
pub const QUICK: Size =
    Size { batches: [(1, 10), (10, 1), (100, 1)], idle: &[110], max_pods: 250, node_mask: None, memory_mib: 2048 };
/// Idle pods that are made at a time.
const FILLED: usize = 110;
/// How long pods that just began to run are let be, so that their start is not counted.
const SETTLE: Duration = Duration::from_secs(20);
/// How long their cost is watched.
const WATCHED: Duration = Duration::from_secs(30);
/// Files of the image that is pulled, of 1 MiB each.
const FILES: u64 = 32;
/// Files of an image that has many, and bytes of each.
const MANY: (u64, usize) = (4000, 16 << 10);
/// Under KVM; scaled for TCG.
const LIMIT: Duration = Duration::from_secs(300);
const PODS: &str = "/api/v1/namespaces/default/pods";

/// Clock ticks of all processes: one line per process, `NAME TICKS`.
const TICKS: &str = r"for p in /proc/[0-9]*; do read -r line < $p/stat 2>/dev/null || continue; name=${line#*(}; name=${name%%)*}; set -- ${line##*) }; echo $name $((${12} + ${13})); done; true";

struct Bench<'a> {
    artifacts: &'a Artifacts,
    cluster: Cluster,
    api: Api,
}

/// Boots one control plane and one worker and measures the worker.
pub fn measure(artifacts: &Artifacts, image: &Path, size: &Size, step: &Step) -> Result<Vec<Row>> {
    let mut spec = ClusterSpec::new("bench-node", &artifacts.work.join("bench-node"), artifacts);
    (spec.workers, spec.memory_mib, spec.node_mask) = (1, size.memory_mib, size.node_mask);
    spec.kubelet = json!({"maxPods": size.max_pods});
    let cluster = Cluster::start(&spec)?;
    push(&cluster.registry().client(), &Archive::open(&artifacts.images.join("busybox"), None)?)?;
    push(&cluster.registry().client(), &Archive::open(image, None)?)?;
    step.say("waiting for nodes");
    let api = cluster.api()?;
    wait_ready(&api, 2, artifacts.accel.scale(LIMIT), |_| {}, || Ok(()))?;
    label_control_plane(&api)?;
    let bench = Bench { artifacts, cluster, api };
    bench.api.create(PODS, &memory::probe_pod("worker-1")).context("create the probe")?;
    bench.api.create(PODS, &bench_pod()).context("create the bench's pod")?;
    bench.running(|name| name == "bench" || name.starts_with("probe"), 2)?;
    let mut rows = Vec::new();
    step.say("containers");
    rows.extend(bench.containers()?);
    step.say("an image");
    rows.extend(bench.images()?);
    for (count, turns) in size.batches {
        step.say(format!("{count} pods at once"));
        rows.push(bench.batch(count, turns)?);
    }
    let mut known = 0;
    for count in size.idle {
        step.say(format!("{count} idle pods"));
        bench.fill(known, *count)?;
        known = *count;
        rows.extend(bench.idle(known)?);
    }
    Ok(rows)
}

/// The pod in which programs are timed: root on the node but for its files.
fn bench_pod() -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bench"}, "spec": {
        "nodeName": "worker-1", "hostNetwork": true, "hostPID": true, "terminationGracePeriodSeconds": 1,
        "volumes": [{"name": "run", "hostPath": {"path": "/run/rk"}}, {"name": "b", "emptyDir": {}}],
        "containers": [{"name": "main", "image": peers::NAME, "command": ["sleep", "36000"], "securityContext": {"privileged": true},
            "volumeMounts": [{"name": "run", "mountPath": "/run/rk"}, {"name": "b", "mountPath": "/b"}]}]}})
}

impl Bench<'_> {
    /// Runs a line in a pod of the worker.
    fn sh(&self, pod: &str, script: &str) -> Result<String> {
        let kubeconfig = self.cluster.kubeconfig();
        let mut command = Command::new(&self.artifacts.kubectl);
        command.env("KUBECONFIG", kubeconfig).arg("--cache-dir").arg(kubeconfig.with_extension("cache"));
        let output = command
            .args(["exec", pod, "--", "sh", "-c", script])
            .stdin(Stdio::null())
            .output()
            .context("cannot run kubectl")?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// A row of what the timing program says, or of why it could not.
    fn timed(&self, what: &str, script: &str, shown: impl Fn(&BTreeMap<String, f64>) -> String) -> Row {
        match self.sh("bench", script) {
            Ok(said) => Row::new(what, shown(&numbers(&said)), "—"),
            Err(error) => Row::new(what, format!("not run: {}", one_line(&error.to_string())), "—"),
        }
    }

    fn containers(&self) -> Result<Vec<Row>> {
        let config = peers::bundle().to_string();
        self.sh(
            "bench",
            &format!(
                "mkdir -p /b/rootfs/bin /b/shim && cp /bin/busybox /b/rootfs/bin/true && echo '{config}' > /b/config.json && cp /b/config.json /b/shim/spec.json"
            ),
        )?;
        let median = |told: &BTreeMap<String, f64>| {
            let of = |key: &str| told.get(key).copied().unwrap_or_default();
            format!("{:.0} ms (worst {:.0} ms)", of("median"), of("worst"))
        };
        let label = |who: &str| format!("{who}: container created, started, ended, removed; median of {CYCLES}");
        Ok(vec![
            self.timed(&label("rk, over CRI, with an image's snapshot"), &format!("measure cycles {CYCLES}"), median),
            self.timed(
                &label("rk-shim by itself, on the bundle of the others"),
                &format!("measure shim {CYCLES} /b/shim"),
                median,
            ),
            self.timed(
                &label("crun run"),
                &format!("measure program {CYCLES} crun --root /b/crun --cgroup-manager=cgroupfs run --bundle /b ID"),
                median,
            ),
            self.timed(
                &label("runc run"),
                &format!("measure program {CYCLES} runc --root /b/runc run --bundle /b ID"),
                median,
            ),
        ])
    }

    /// The same images by us and by containerd: one of large files, and one of many.
    fn images(&self) -> Result<Vec<Row>> {
        let port = self.cluster.registry().address().port();
        let serve = "(containerd --root /b/c --state /b/cs --address /b/c.sock > /b/c.log 2>&1 &) ; n=0; until ctr -a /b/c.sock version > /dev/null 2>&1; do n=$((n+1)); [ $n -lt 60 ] || { tail -3 /b/c.log >&2; exit 1; }; sleep 1; done";
        let mut rows = Vec::new();
        for (name, files, size) in [("large", FILES, 1 << 20), ("many", MANY.0, MANY.1)] {
            self.pushed(name, files, size)?;
            let megabytes = files as f64 * size as f64 / 1e6;
            let rate = |key: &'static str| {
                move |told: &BTreeMap<String, f64>| {
                    format!("{:.1} MB/s", megabytes / (told.get(key).copied().unwrap_or(f64::INFINITY) / 1e3))
                }
            };
            let pull = format!(
                "ctr -a /b/c.sock images pull --plain-http --snapshotter native 10.0.2.2:{port}/rk.local/{name}:demo"
            );
            let label = |who: &str| {
                format!("{who}: an image of {files} files of {} KiB in one layer, pulled and unpacked", size >> 10)
            };
            let ours = format!("measure pull rk.local/{name}:demo");
            rows.push(self.timed(&label("rk"), &ours, rate("pull")));
            let theirs = format!("{serve}; measure program 1 {pull}");
            rows.push(self.timed(&label("containerd"), &theirs, rate("median")));
            let _ = self.sh("bench", "kill $(pidof containerd); rm -rf /b/c /b/cs");
        }
        Ok(rows)
    }

    /// Pushes an image of one layer with so many files of this size.
    fn pushed(&self, name: &str, files: u64, size: usize) -> Result<()> {
        let layout = self.artifacts.work.join(format!("bench-node-{name}"));
        let full: ImageName = format!("rk.local/{name}:demo").parse()?;
        let entries: Vec<Entry> = (0..files).map(|n| Entry::file(&format!("f{n}"), 0o644, noise(n, size))).collect();
        write_layout(&layout, &full, &entries, &ImageConfig::default())?;
        push(&self.cluster.registry().client(), &Archive::open(&layout, None)?)?;
        Ok(())
    }

    /// From each pod's creation to the API's saying Running, for `count` at once, `turns` times.
    fn batch(&self, count: usize, turns: usize) -> Result<Row> {
        let mut times = Vec::new();
        for turn in 0..turns {
            times.extend(self.started(&format!("at-once-{count}-{turn}"), count)?);
            // Single pods burden each other little, and to wait for the end of each would take longer than to measure.
            if count > 1 {
                self.remove("at-once")?;
            }
        }
        times.sort();
        let at =
            |share: usize| times.get((times.len() * share / 100).min(times.len() - 1)).copied().unwrap_or_default();
        let what = format!("pod create to Running, {count} at once, p50 and p99 of {}", times.len());
        let budget = if count == 1 { "p99 ≤ 300 ms outside TCG" } else { "—" };
        let row = Row::new(what, format!("{}, {}", ms(at(50)), ms(at(99))), budget);
        self.remove("at-once")?;
        Ok(row)
    }

    /// Creates pods and waits until all run; answers how long each took.
    fn started(&self, prefix: &str, count: usize) -> Result<Vec<Duration>> {
        let mut created = BTreeMap::new();
        for n in 0..count {
            let name = format!("{prefix}-{n}");
            let begin = Instant::now();
            self.create(&name)?;
            created.insert(name, begin);
        }
        let (begin, mut times) = (Instant::now(), Vec::new());
        while !created.is_empty() {
            for name in self.names("Running")? {
                times.extend(created.remove(&name).map(|at| at.elapsed()));
            }
            if begin.elapsed() > self.artifacts.accel.scale(LIMIT) {
                bail!("{} of {count} pods do not run", created.len());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(times)
    }

    fn names(&self, phase: &str) -> Result<Vec<String>> {
        let list = self.api.get(&format!("{PODS}?fieldSelector=status.phase%3D{phase}"))?;
        let items = list.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
        Ok(items.iter().filter_map(|p| p.pointer("/metadata/name")?.as_str().map(str::to_owned)).collect())
    }

    /// Waits until `count` pods of these names run.
    fn running(&self, wanted: impl Fn(&str) -> bool, count: usize) -> Result<()> {
        let begin = Instant::now();
        while self.names("Running")?.iter().filter(|name| wanted(name)).count() < count {
            if begin.elapsed() > self.artifacts.accel.scale(LIMIT) {
                bail!(
                    "the pods of the bench do not run: {}",
                    self.api.get(PODS)?.pointer("/items/0/status").unwrap_or(&Value::Null)
                );
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    fn remove(&self, prefix: &str) -> Result<()> {
        let begin = Instant::now();
        let left = || -> Result<Vec<String>> {
            let list = self.api.get(PODS)?;
            let items = list.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
            let names = items.iter().filter_map(|p| p.pointer("/metadata/name")?.as_str().map(str::to_owned));
            Ok(names.filter(|name| name.starts_with(prefix)).collect())
        };
        for name in left()? {
            self.api.delete(&format!("{PODS}/{name}"))?;
        }
        while !left()?.is_empty() {
            if begin.elapsed() > self.artifacts.accel.scale(LIMIT) {
                bail!("pods named {prefix} do not go");
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    fn create(&self, name: &str) -> Result<()> {
        let container = json!({"name": "main", "image": "rk.local/busybox:demo", "command": ["sleep", "36000"]});
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
            "nodeName": "worker-1", "terminationGracePeriodSeconds": 1, "containers": [container]}});
        self.api.create(PODS, &pod)?;
        Ok(())
    }

    /// Makes idle pods, of which `known` run, until there are `count`: in steps, each of which has all the time that there is.
    fn fill(&self, known: usize, count: usize) -> Result<()> {
        let mut there = known;
        while there < count {
            let until = count.min(there + FILLED);
            (there..until).try_for_each(|n| self.create(&format!("idle-{n}")))?;
            there = until;
            self.running(|name| name.starts_with("idle-"), there)?;
        }
        Ok(())
    }

    /// What many idle pods cost: memory, and processor time.
    fn idle(&self, count: usize) -> Result<Vec<Row>> {
        std::thread::sleep(SETTLE);
        let ticks = || -> Result<BTreeMap<String, u64>> {
            let mut sum = BTreeMap::new();
            for line in self.sh("probe-worker-1", TICKS)?.lines() {
                if let Some((name, ticks)) = line.rsplit_once(' ') {
                    *sum.entry(name.to_owned()).or_default() += ticks.parse::<u64>().unwrap_or(0);
                }
            }
            Ok(sum)
        };
        let (before, begin) = (ticks()?, Instant::now());
        std::thread::sleep(WATCHED);
        let (after, took) = (ticks()?, begin.elapsed().as_secs_f64());
        let usages = memory::read(self.artifacts, self.cluster.kubeconfig(), "worker-1")?;
        let mut rows = Vec::new();
        for (name, usage) in &usages {
            let budget = match *name {
                "rk-node" => "≤ 40 MB with rk-init",
                "rk-shim" => "≤ 1 MB per pod of its own",
                _ => "—",
            };
            let each = || mb(usage.resident * 1024 / usage.processes);
            let several = usage.processes > 1;
            let per =
                if several { format!(" ({} processes, {} each)", usage.processes, each()) } else { String::new() };
            let text = format!("{}, {} of it anonymous{per}", mb(usage.resident * 1024), mb(usage.anonymous * 1024));
            rows.push(Row::new(format!("{name}, {count} idle pods: resident"), text, budget));
        }
        for name in ["rk-init", "rk-node", "rk-shim"] {
            let used = after.get(name).copied().unwrap_or(0).saturating_sub(before.get(name).copied().unwrap_or(0));
            let share = format!("{:.2} % of a core", used as f64 / took);
            rows.push(Row::new(format!("{name}, {count} idle pods: processor"), share, "≤ 1 % outside TCG"));
        }
        Ok(rows)
    }
}

/// The timing program's lines.
fn numbers(said: &str) -> BTreeMap<String, f64> {
    said.lines()
        .filter_map(|l| l.split_once('\t'))
        .filter_map(|(k, v)| Some((k.to_owned(), v.trim().parse().ok()?)))
        .collect()
}

/// The end of what a program complained of, fit for a table.
fn one_line(text: &str) -> String {
    let line = text
        .lines()
        .rev()
        .find(|l| !l.trim().is_empty() && !l.starts_with("command terminated"))
        .unwrap_or("no reason told");
    line.replace('|', "/").chars().take(160).collect()
}

/// So many bytes, in eights, that do not shrink.
fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(size);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_timing_program_are_numbers_and_complaints_one_line() {
        assert_eq!(numbers("median\t1.5\nnonsense\nworst\tx\n"), BTreeMap::from([("median".to_owned(), 1.5)]));
        assert_eq!(one_line("first\nlast | one\ncommand terminated with exit code 1\n\n"), "last / one");
        assert_eq!(noise(1, 1 << 20).len(), 1 << 20);
    }
}

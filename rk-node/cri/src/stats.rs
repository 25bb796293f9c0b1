//! Resource usage, read from cgroup v2 and the pod's network namespace.

use std::path::Path;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use rk_cri_api::v1::{
    ContainerAttributes, ContainerState, ContainerStats, CpuUsage, FilesystemIdentifier, FilesystemUsage, IoUsage,
    LinuxPodSandboxStats, MemoryUsage, NetworkInterfaceUsage, NetworkUsage, PodSandboxAttributes, PodSandboxStats,
    ProcessUsage, PsiData, PsiStats, SwapUsage, UInt64Value,
};
use rk_figures::{Ask, SoFar, Taken};

use crate::clock::now_ns;
use crate::record::{ContainerRecord, SandboxRecord};
use crate::runtime::Runtime;

/// A shorter time between two readings gives no rate: whoever asks again so soon gets the one that was known.
const RATE_WINDOW: Duration = Duration::from_secs(1);

/// How old the count of a writable layer's files may be: cAdvisor's pace.
const LAYER_AGE: Duration = Duration::from_secs(10);
/// How long counting one layer keeps whoever asks; what was counted before is told after that.
pub(crate) const LAYER_PATIENCE: Duration = Duration::from_secs(2);
/// How long counting all layers keeps whoever asks for all.
const LAYERS_PATIENCE: Duration = Duration::from_secs(10);

/// How one call asks for writable layers.
pub(crate) fn of_layers() -> Ask {
    Ask::new(LAYER_AGE, LAYERS_PATIENCE)
}

/// A reading of CPU time, and the rate that it gave.
#[derive(Clone, Copy)]
pub(crate) struct CpuSample {
    at: Instant,
    total: u64,
    rate: Option<u64>,
}

fn value(value: u64) -> Option<UInt64Value> {
    Some(UInt64Value { value })
}

fn read(dir: &Path, file: &str) -> String {
    std::fs::read_to_string(dir.join(file)).unwrap_or_default()
}

fn number(dir: &Path, file: &str) -> Option<u64> {
    read(dir, file).trim().parse().ok()
}

/// The number after `key` in a flat keyed file.
pub(crate) fn lookup(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')).and_then(|n| n.trim().parse().ok())
}

fn keyed(text: &str, key: &str) -> u64 {
    lookup(text, key).unwrap_or(0)
}

/// Usage of one container.
pub(crate) async fn container(runtime: &Runtime, record: &ContainerRecord, layers: Ask) -> ContainerStats {
    let dir = rk_sys::cgroup_dir(&record.cgroup);
    let usage = runtime.written(&record.id, layers).await;
    let images = runtime.config.state_dir.join("containers");
    ContainerStats {
        attributes: Some(ContainerAttributes {
            id: record.id.clone(),
            metadata: record.config.metadata.clone(),
            labels: record.config.labels.clone(),
            annotations: record.config.annotations.clone(),
        }),
        cpu: Some(cpu(runtime, &record.id, &dir)),
        memory: Some(memory(&dir)),
        writable_layer: Some(FilesystemUsage {
            timestamp: now_ns(),
            fs_id: Some(FilesystemIdentifier { mountpoint: images.to_string_lossy().into_owned() }),
            used_bytes: usage.and_then(|usage| value(usage.bytes)),
            inodes_used: usage.and_then(|usage| value(usage.inodes)),
        }),
        swap: Some(swap(&dir)),
        io: Some(IoUsage { timestamp: now_ns(), psi: psi(&read(&dir, "io.pressure")) }),
    }
}

/// Usage of a pod: its cgroup, its network and its containers.
pub(crate) async fn sandbox(runtime: &Runtime, record: &SandboxRecord, layers: Ask) -> PodSandboxStats {
    let dir = rk_sys::cgroup_dir(&record.cgroup_parent);
    let mut containers = Vec::new();
    for one in runtime.tables.containers_of(&record.id) {
        let one = one.get();
        if one.state() == ContainerState::ContainerRunning {
            containers.push(container(runtime, &one, layers).await);
        }
    }
    PodSandboxStats {
        attributes: Some(PodSandboxAttributes {
            id: record.id.clone(),
            metadata: record.config.metadata.clone(),
            labels: record.config.labels.clone(),
            annotations: record.config.annotations.clone(),
        }),
        linux: Some(LinuxPodSandboxStats {
            cpu: Some(cpu(runtime, &record.id, &dir)),
            memory: Some(memory(&dir)),
            network: network(record).await,
            process: Some(ProcessUsage {
                timestamp: now_ns(),
                process_count: value(number(&dir, "pids.current").unwrap_or(0)),
            }),
            io: Some(IoUsage { timestamp: now_ns(), psi: psi(&read(&dir, "io.pressure")) }),
            containers,
        }),
    }
}

fn cpu(runtime: &Runtime, id: &str, dir: &Path) -> CpuUsage {
    let total = keyed(&read(dir, "cpu.stat"), "usage_usec").saturating_mul(1000);
    CpuUsage {
        timestamp: now_ns(),
        usage_core_nano_seconds: value(total),
        usage_nano_cores: runtime.cpu_rate(id, total).map(|value| UInt64Value { value }),
        psi: psi(&read(dir, "cpu.pressure")),
    }
}

fn memory(dir: &Path) -> MemoryUsage {
    let stat = read(dir, "memory.stat");
    let usage = number(dir, "memory.current").unwrap_or(0);
    let working_set = usage.saturating_sub(keyed(&stat, "inactive_file"));
    MemoryUsage {
        timestamp: now_ns(),
        working_set_bytes: value(working_set),
        // Without a limit there is nothing to tell.
        available_bytes: number(dir, "memory.max").and_then(|limit| value(limit.saturating_sub(working_set))),
        usage_bytes: value(usage),
        rss_bytes: value(keyed(&stat, "anon")),
        page_faults: value(keyed(&stat, "pgfault")),
        major_page_faults: value(keyed(&stat, "pgmajfault")),
        psi: psi(&read(dir, "memory.pressure")),
    }
}

fn swap(dir: &Path) -> SwapUsage {
    let used = number(dir, "memory.swap.current").unwrap_or(0);
    let limit = number(dir, "memory.swap.max");
    SwapUsage {
        timestamp: now_ns(),
        swap_usage_bytes: value(used),
        swap_available_bytes: value(limit.map_or(0, |l| l.saturating_sub(used))),
    }
}

/// A pressure file; `None` where the kernel has none.
pub(crate) fn psi(text: &str) -> Option<PsiStats> {
    let line = |kind: &str| text.lines().find_map(|line| line.strip_prefix(kind)).map(psi_line);
    let some = line("some ")?;
    Some(PsiStats { some: Some(some), full: line("full ") })
}

fn psi_line(line: &str) -> PsiData {
    let field = |key: &str| line.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    let average = |key| field(key).and_then(|n| n.parse().ok()).unwrap_or(0.0);
    PsiData {
        // The kernel counts microseconds.
        total: field("total").and_then(|n| n.parse::<u64>().ok()).unwrap_or(0).saturating_mul(1000),
        avg10: average("avg10"),
        avg60: average("avg60"),
        avg300: average("avg300"),
    }
}

async fn network(record: &SandboxRecord) -> Option<NetworkUsage> {
    let mut interfaces = interfaces(&net_dev(record).await?);
    let at = interfaces.iter().position(|interface| interface.name == "eth0")?;
    let default_interface = Some(interfaces.remove(at));
    Some(NetworkUsage { timestamp: now_ns(), default_interface, interfaces })
}

/// `/proc/net/dev` of the pod; `None` for the node's network.
pub(crate) async fn net_dev(record: &SandboxRecord) -> Option<String> {
    let netns = record.netns.clone()?;
    let text = tokio::task::spawn_blocking(move || {
        rk_cni::in_netns(&netns, || async { std::fs::read_to_string("/proc/thread-self/net/dev") })
    });
    text.await.ok()?.ok()?.ok()
}

/// Interfaces and their counters in `/proc/net/dev`, without the loopback.
pub(crate) fn counters(text: &str) -> Vec<(String, Vec<u64>)> {
    text.lines()
        .filter_map(|line| {
            let (name, counters) = line.split_once(':')?;
            let counters = counters.split_whitespace().filter_map(|n| n.parse().ok()).collect();
            (name.trim() != "lo").then(|| (name.trim().to_owned(), counters))
        })
        .collect()
}

fn interfaces(text: &str) -> Vec<NetworkInterfaceUsage> {
    let usage = |(name, counters): (String, Vec<u64>)| {
        let at = |index: usize| counters.get(index).map(|value| UInt64Value { value: *value });
        NetworkInterfaceUsage { name, rx_bytes: at(0), rx_errors: at(2), tx_bytes: at(8), tx_errors: at(10) }
    };
    counters(text).into_iter().map(usage).collect()
}

fn rate(before: CpuSample, total: u64, now: Instant) -> Option<u64> {
    let elapsed = now.saturating_duration_since(before.at).as_nanos();
    let used = u128::from(total.saturating_sub(before.total)).checked_mul(1_000_000_000)?;
    u64::try_from(used.checked_div(elapsed)?).ok()
}

impl Runtime {
    /// Nanoseconds of CPU per second since the last reading of `id` that was long enough ago; `None` at the first.
    pub fn cpu_rate(&self, id: &str, total: u64) -> Option<u64> {
        let mut samples = self.cpu_samples.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let before = samples.get(id).copied();
        if let Some(sample) = before.filter(|sample| now.saturating_duration_since(sample.at) < RATE_WINDOW) {
            return sample.rate;
        }
        let rate = before.and_then(|sample| rate(sample, total, now));
        samples.insert(id.to_owned(), CpuSample { at: now, total, rate });
        rate
    }

    /// What a container has written; `None` when that is not known, or not yet.
    pub async fn written(&self, id: &str, ask: Ask) -> Option<Taken> {
        let (key, images, id) = (id.to_owned(), self.config.images.clone(), id.to_owned());
        let look = |so_far: SoFar<String, Taken>| async move {
            let told = move |taken: Taken| so_far.tell(|last| last.copied().map_or(taken, |last| last.or_more(taken)));
            images.snapshot_usage(&id, told).await.ok()
        };
        self.layers.get_growing(&key, ask, look).await
    }

    /// Drops the readings of what is gone.
    pub fn forget_samples(&self, id: &str) {
        self.cpu_samples.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_files_are_read_by_exact_keys() {
        let stat = "anon 4096\nfile 1\ninactive_file 512\npgfault 7\n";
        assert_eq!(
            (keyed(stat, "anon"), keyed(stat, "inactive_file"), keyed(stat, "pg"), keyed(stat, "none")),
            (4096, 512, 0, 0)
        );
        let psi =
            psi("some avg10=1.50 avg60=0.10 avg300=0.00 total=12\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=3\n")
                .unwrap();
        let some = psi.some.unwrap();
        assert_eq!((some.total, some.avg10, psi.full.unwrap().total), (12_000, 1.5, 3_000));
        assert!(super::psi("").is_none());
    }

    #[test]
    fn a_rate_is_cpu_time_over_time() {
        let start = Instant::now();
        let before = CpuSample { at: start, total: 5_000_000_000, rate: None };
        let after = start + Duration::from_secs(2);
        for (total, now, want) in
            [(6_000_000_000, after, Some(500_000_000)), (10, after, Some(0)), (6_000_000_000, start, None)]
        {
            assert_eq!(rate(before, total, now), want, "{total}");
        }
    }

    #[test]
    fn memory_without_a_limit_has_nothing_available() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("memory.current"), "100\n").unwrap();
        for (limit, want) in [("max\n", None), ("160\n", Some(60)), ("90\n", Some(0))] {
            std::fs::write(dir.path().join("memory.max"), limit).unwrap();
            assert_eq!(memory(dir.path()).available_bytes.map(|v| v.value), want, "{limit}");
        }
    }

    #[test]
    fn interfaces_are_listed_without_the_loopback() {
        let text = "Inter-|   Receive\n face |bytes packets\n    lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n  eth0: 100 2 3 0 0 0 0 0 200 9 4 0 0 0 0 0\n";
        let found = interfaces(text);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].tx_bytes, Some(UInt64Value { value: 200 }));
        assert_eq!(found[0].tx_errors, Some(UInt64Value { value: 4 }));
    }
}

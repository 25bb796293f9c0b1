//! Resource usage, from the CRI for pods and containers and from the root cgroup for the node.

use std::fs;
use std::path::Path;

use jiff::Timestamp;
use rk_cri_api::v1 as cri;

use crate::context::Context;
use crate::node::machine;
use crate::runtime;
use crate::server::machine::pressure;

/// Usage of one thing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Usage {
    /// When it was read, nanoseconds since 1970: what is asked for often is not read each time.
    pub at: Option<i64>,
    /// CPU time used so far, nanoseconds.
    pub cpu_nanos: Option<u64>,
    /// CPU used now, nanocores.
    pub cpu_nanocores: Option<u64>,
    /// Memory that cannot be reclaimed easily, bytes.
    pub working_set: Option<u64>,
    /// Memory, bytes.
    pub usage: Option<u64>,
    /// Anonymous memory, bytes.
    pub rss: Option<u64>,
    /// Memory left below the limit, where there is one, bytes.
    pub available: Option<u64>,
    /// Page faults.
    pub page_faults: Option<u64>,
    /// Major page faults.
    pub major_page_faults: Option<u64>,
    /// Swap in use, bytes.
    pub swap: Option<u64>,
    /// Swap that could still be used, bytes.
    pub swap_available: Option<u64>,
    /// Time that tasks waited for a CPU.
    pub cpu_psi: Option<cri::PsiStats>,
    /// Time that tasks waited for memory.
    pub memory_psi: Option<cri::PsiStats>,
    /// Time that tasks waited for disks.
    pub io_psi: Option<cri::PsiStats>,
}

/// A network interface with its counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Bytes received.
    pub rx_bytes: Option<u64>,
    /// Errors while receiving.
    pub rx_errors: Option<u64>,
    /// Bytes sent.
    pub tx_bytes: Option<u64>,
    /// Errors while sending.
    pub tx_errors: Option<u64>,
}

/// A container with its usage.
#[derive(Clone, Debug)]
pub struct ContainerUsage {
    /// Its name.
    pub name: String,
    /// Its usage.
    pub usage: Usage,
    /// Writable layer.
    pub layer: Option<cri::FilesystemUsage>,
}

/// A pod with its usage.
#[derive(Clone, Debug, Default)]
pub struct PodUsage {
    /// Name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
    /// UID.
    pub uid: String,
    /// The whole pod.
    pub usage: Usage,
    /// Its containers.
    pub containers: Vec<ContainerUsage>,
    /// Network interfaces, the default one first.
    pub network: Vec<Interface>,
    /// Processes.
    pub processes: Option<u64>,
}

fn value(v: Option<&cri::UInt64Value>) -> Option<u64> {
    v.map(|v| v.value)
}

fn usage(cpu: Option<&cri::CpuUsage>, memory: Option<&cri::MemoryUsage>, io: Option<&cri::IoUsage>) -> Usage {
    let read = cpu.map(|c| c.timestamp).into_iter().chain(memory.map(|m| m.timestamp));
    Usage {
        at: read.filter(|at| *at > 0).min(),
        cpu_nanos: value(cpu.and_then(|c| c.usage_core_nano_seconds.as_ref())),
        cpu_nanocores: value(cpu.and_then(|c| c.usage_nano_cores.as_ref())),
        working_set: value(memory.and_then(|m| m.working_set_bytes.as_ref())),
        usage: value(memory.and_then(|m| m.usage_bytes.as_ref())),
        rss: value(memory.and_then(|m| m.rss_bytes.as_ref())),
        available: value(memory.and_then(|m| m.available_bytes.as_ref())),
        page_faults: value(memory.and_then(|m| m.page_faults.as_ref())),
        major_page_faults: value(memory.and_then(|m| m.major_page_faults.as_ref())),
        swap: None,
        swap_available: None,
        cpu_psi: cpu.and_then(|c| c.psi),
        memory_psi: memory.and_then(|m| m.psi),
        io_psi: io.and_then(|i| i.psi),
    }
}

fn interface(of: cri::NetworkInterfaceUsage) -> Interface {
    Interface {
        rx_bytes: value(of.rx_bytes.as_ref()),
        rx_errors: value(of.rx_errors.as_ref()),
        tx_bytes: value(of.tx_bytes.as_ref()),
        tx_errors: value(of.tx_errors.as_ref()),
        name: of.name,
    }
}

/// Usage of all pods.
pub async fn pods(context: &Context) -> Result<Vec<PodUsage>, runtime::RuntimeError> {
    let mut pods: Vec<PodUsage> = Vec::new();
    for sandbox in context.runtime.sandbox_stats().await? {
        let (attributes, linux) = (sandbox.attributes.unwrap_or_default(), sandbox.linux.unwrap_or_default());
        let metadata = attributes.metadata.unwrap_or_default();
        let network = linux.network.unwrap_or_default();
        let interfaces = network.default_interface.into_iter().chain(network.interfaces);
        pods.push(PodUsage {
            name: metadata.name,
            namespace: metadata.namespace,
            uid: metadata.uid,
            usage: usage(linux.cpu.as_ref(), linux.memory.as_ref(), linux.io.as_ref()),
            containers: Vec::new(),
            network: interfaces.map(interface).collect(),
            processes: value(linux.process.as_ref().and_then(|p| p.process_count.as_ref())),
        });
    }
    for container in context.runtime.container_stats().await? {
        let attributes = container.attributes.unwrap_or_default();
        let uid = attributes.labels.get(runtime::POD_UID).cloned().unwrap_or_default();
        if let Some(pod) = pods.iter_mut().find(|p| p.uid == uid) {
            let swap = container.swap.unwrap_or_default();
            let of_container = Usage {
                swap: value(swap.swap_usage_bytes.as_ref()),
                swap_available: value(swap.swap_available_bytes.as_ref()),
                ..usage(container.cpu.as_ref(), container.memory.as_ref(), container.io.as_ref())
            };
            pod.usage.swap = sum(pod.usage.swap, of_container.swap);
            pod.usage.swap_available = sum(pod.usage.swap_available, of_container.swap_available);
            pod.containers.push(ContainerUsage {
                name: attributes.labels.get(runtime::CONTAINER_NAME).cloned().unwrap_or_default(),
                usage: of_container,
                layer: container.writable_layer,
            });
        }
    }
    Ok(pods)
}

/// Both, as far as they are known.
fn sum(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    a.into_iter().chain(b).reduce(u64::saturating_add)
}

/// The number behind `name` in a flat keyed file.
pub fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|l| l.strip_prefix(name)?.trim().parse().ok())
}

/// The time, as usage tells it.
pub fn now() -> Option<i64> {
    i64::try_from(Timestamp::now().as_nanosecond()).ok()
}

/// Usage of the whole node.
pub fn node(cgroup: &Path) -> Usage {
    let cpu = fs::read_to_string(cgroup.join("cpu.stat")).unwrap_or_default();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let events = fs::read_to_string("/proc/vmstat").unwrap_or_default();
    let total = machine(Path::new("/")).memory;
    let kib = |name: &str| {
        memory
            .lines()
            .find_map(|l| l.strip_prefix(name)?.split_whitespace().next()?.parse::<u64>().ok())
            .map(|v| v * 1024)
    };
    let free = kib("MemFree:").unwrap_or(0);
    let inactive = kib("Inactive(file):").unwrap_or(0);
    let used = total.saturating_sub(free);
    Usage {
        at: now(),
        cpu_nanos: field(&cpu, "usage_usec").map(|us| us * 1000),
        cpu_nanocores: None,
        working_set: Some(used.saturating_sub(inactive)),
        usage: Some(used),
        rss: kib("AnonPages:"),
        available: None,
        page_faults: field(&events, "pgfault"),
        major_page_faults: field(&events, "pgmajfault"),
        swap: kib("SwapTotal:").and_then(|total| Some(total.saturating_sub(kib("SwapFree:")?))),
        swap_available: kib("SwapFree:"),
        cpu_psi: pressure("cpu"),
        memory_psi: pressure("memory"),
        io_psi: pressure("io"),
    }
}

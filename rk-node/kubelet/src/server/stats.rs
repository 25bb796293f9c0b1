//! Resource usage, from the CRI for pods and containers and from the root cgroup for the node.

use std::fs;
use std::path::Path;

use rk_cri_api::v1 as cri;

use crate::context::Context;
use crate::node::machine;
use crate::runtime;

/// Usage of one thing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Usage {
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
    /// Page faults.
    pub page_faults: Option<u64>,
    /// Major page faults.
    pub major_page_faults: Option<u64>,
    /// Swap in use, bytes.
    pub swap: Option<u64>,
    /// Swap that could still be used, bytes.
    pub swap_available: Option<u64>,
}

/// A container with its usage.
#[derive(Clone, Debug)]
pub struct ContainerUsage {
    /// Its name.
    pub name: String,
    /// Its usage.
    pub usage: Usage,
    /// Writable layer, bytes.
    pub root_fs: Option<u64>,
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
    /// Network: interface, received and sent bytes.
    pub network: Vec<(String, u64, u64)>,
}

fn value(v: Option<&cri::UInt64Value>) -> Option<u64> {
    v.map(|v| v.value)
}

fn usage(cpu: Option<&cri::CpuUsage>, memory: Option<&cri::MemoryUsage>) -> Usage {
    Usage {
        cpu_nanos: value(cpu.and_then(|c| c.usage_core_nano_seconds.as_ref())),
        cpu_nanocores: value(cpu.and_then(|c| c.usage_nano_cores.as_ref())),
        working_set: value(memory.and_then(|m| m.working_set_bytes.as_ref())),
        usage: value(memory.and_then(|m| m.usage_bytes.as_ref())),
        rss: value(memory.and_then(|m| m.rss_bytes.as_ref())),
        page_faults: value(memory.and_then(|m| m.page_faults.as_ref())),
        major_page_faults: value(memory.and_then(|m| m.major_page_faults.as_ref())),
        swap: None,
        swap_available: None,
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
            usage: usage(linux.cpu.as_ref(), linux.memory.as_ref()),
            containers: Vec::new(),
            network: interfaces
                .map(|i| {
                    (i.name.clone(), value(i.rx_bytes.as_ref()).unwrap_or(0), value(i.tx_bytes.as_ref()).unwrap_or(0))
                })
                .collect(),
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
                ..usage(container.cpu.as_ref(), container.memory.as_ref())
            };
            pod.usage.swap = sum(pod.usage.swap, of_container.swap);
            pod.usage.swap_available = sum(pod.usage.swap_available, of_container.swap_available);
            pod.containers.push(ContainerUsage {
                name: attributes.labels.get(runtime::CONTAINER_NAME).cloned().unwrap_or_default(),
                usage: of_container,
                root_fs: value(container.writable_layer.as_ref().and_then(|w| w.used_bytes.as_ref())),
            });
        }
    }
    Ok(pods)
}

/// Both, as far as they are known.
fn sum(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    a.into_iter().chain(b).reduce(u64::saturating_add)
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|l| l.strip_prefix(name)?.trim().parse().ok())
}

/// Usage of the whole node.
pub fn node(cgroup: &Path) -> Usage {
    let cpu = fs::read_to_string(cgroup.join("cpu.stat")).unwrap_or_default();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
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
        cpu_nanos: field(&cpu, "usage_usec").map(|us| us * 1000),
        cpu_nanocores: None,
        working_set: Some(used.saturating_sub(inactive)),
        usage: Some(used),
        rss: kib("AnonPages:"),
        page_faults: None,
        major_page_faults: None,
        swap: kib("SwapTotal:").and_then(|total| Some(total.saturating_sub(kib("SwapFree:")?))),
        swap_available: kib("SwapFree:"),
    }
}

//! Metrics of pods and containers under cAdvisor's names (KEP-2371): a table of what is told, and the readings behind it.

use rk_cri_api::v1::*;

use super::Service;
use crate::clock::now_ns;

/// Labels that every metric has, in this order.
const BASE: [&str; 6] = ["container", "id", "image", "name", "namespace", "pod"];
/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;

type OfContainer = fn(&ContainerStats) -> Option<u64>;
type OfInterface = fn(&NetworkInterfaceUsage) -> Option<u64>;

fn value(field: Option<&UInt64Value>) -> Option<u64> {
    field.map(|v| v.value)
}

fn memory(stats: &ContainerStats, pick: fn(&MemoryUsage) -> Option<&UInt64Value>) -> Option<u64> {
    stats.memory.as_ref().and_then(|m| value(pick(m)))
}

/// Time that tasks stood still, in whole seconds.
fn stalled(psi: Option<&PsiStats>, full: bool) -> Option<u64> {
    let psi = psi?;
    let line = if full { psi.full.as_ref() } else { psi.some.as_ref() };
    line.map(|line| line.total / SECOND)
}

/// Name, help, type and reading of what is told of containers.
const CONTAINER: [(&str, &str, MetricType, OfContainer); 15] = [
    ("container_cpu_usage_seconds_total", "Cumulative cpu time consumed in seconds.", MetricType::Counter, |s| {
        s.cpu.as_ref().and_then(|c| value(c.usage_core_nano_seconds.as_ref())).map(|ns| ns / SECOND)
    }),
    (
        "container_memory_usage_bytes",
        "Current memory usage in bytes, including all memory regardless of when it was accessed",
        MetricType::Gauge,
        |s| memory(s, |m| m.usage_bytes.as_ref()),
    ),
    ("container_memory_working_set_bytes", "Current working set in bytes.", MetricType::Gauge, |s| {
        memory(s, |m| m.working_set_bytes.as_ref())
    }),
    ("container_memory_rss", "Size of RSS in bytes.", MetricType::Gauge, |s| memory(s, |m| m.rss_bytes.as_ref())),
    ("container_memory_page_faults_total", "Cumulative count of page faults.", MetricType::Counter, |s| {
        memory(s, |m| m.page_faults.as_ref())
    }),
    ("container_memory_major_page_faults_total", "Cumulative count of major page faults.", MetricType::Counter, |s| {
        memory(s, |m| m.major_page_faults.as_ref())
    }),
    ("container_memory_swap", "Container swap usage in bytes.", MetricType::Gauge, |s| {
        s.swap.as_ref().and_then(|w| value(w.swap_usage_bytes.as_ref()))
    }),
    (
        "container_fs_usage_bytes",
        "Number of bytes that are consumed by the container on this filesystem.",
        MetricType::Gauge,
        |s| s.writable_layer.as_ref().and_then(|w| value(w.used_bytes.as_ref())),
    ),
    ("container_fs_inodes_total", "Number of Inodes", MetricType::Gauge, |s| {
        s.writable_layer.as_ref().and_then(|w| value(w.inodes_used.as_ref()))
    }),
    (
        "container_pressure_cpu_waiting_seconds_total",
        "Total time duration tasks in the container have waited due to CPU congestion.",
        MetricType::Counter,
        |s| stalled(s.cpu.as_ref().and_then(|c| c.psi.as_ref()), false),
    ),
    (
        "container_pressure_cpu_stalled_seconds_total",
        "Total time duration no tasks in the container could make progress due to CPU congestion.",
        MetricType::Counter,
        |s| stalled(s.cpu.as_ref().and_then(|c| c.psi.as_ref()), true),
    ),
    (
        "container_pressure_memory_waiting_seconds_total",
        "Total time duration tasks in the container have waited due to memory congestion.",
        MetricType::Counter,
        |s| stalled(s.memory.as_ref().and_then(|m| m.psi.as_ref()), false),
    ),
    (
        "container_pressure_memory_stalled_seconds_total",
        "Total time duration no tasks in the container could make progress due to memory congestion.",
        MetricType::Counter,
        |s| stalled(s.memory.as_ref().and_then(|m| m.psi.as_ref()), true),
    ),
    (
        "container_pressure_io_waiting_seconds_total",
        "Total time duration tasks in the container have waited due to IO congestion.",
        MetricType::Counter,
        |s| stalled(s.io.as_ref().and_then(|i| i.psi.as_ref()), false),
    ),
    (
        "container_pressure_io_stalled_seconds_total",
        "Total time duration no tasks in the container could make progress due to IO congestion.",
        MetricType::Counter,
        |s| stalled(s.io.as_ref().and_then(|i| i.psi.as_ref()), true),
    ),
];

/// The same of a pod's interfaces; they have one label more.
const INTERFACE: [(&str, &str, OfInterface); 4] = [
    ("container_network_receive_bytes_total", "Cumulative count of bytes received", |i| value(i.rx_bytes.as_ref())),
    ("container_network_receive_errors_total", "Cumulative count of errors encountered while receiving", |i| {
        value(i.rx_errors.as_ref())
    }),
    ("container_network_transmit_bytes_total", "Cumulative count of bytes transmitted", |i| value(i.tx_bytes.as_ref())),
    ("container_network_transmit_errors_total", "Cumulative count of errors encountered while transmitting", |i| {
        value(i.tx_errors.as_ref())
    }),
];

/// What is told of a whole pod.
const PROCESSES: (&str, &str) = ("container_processes", "Number of processes running inside the container.");

/// The descriptors of all metrics, in a fixed order.
pub(super) fn descriptors() -> Vec<MetricDescriptor> {
    let one = |name: &str, help: &str, more: &[&str]| MetricDescriptor {
        name: name.into(),
        help: help.into(),
        label_keys: BASE.iter().chain(more).map(|key| (*key).to_owned()).collect(),
    };
    let containers = CONTAINER.iter().map(|(name, help, ..)| one(name, help, &[]));
    let interfaces = INTERFACE.iter().map(|(name, help, _)| one(name, help, &["interface"]));
    containers.chain(interfaces).chain([one(PROCESSES.0, PROCESSES.1, &[])]).collect()
}

fn metric(name: &str, kind: MetricType, labels: &[String], value: u64) -> Metric {
    Metric {
        name: name.into(),
        timestamp: now_ns(),
        metric_type: kind.into(),
        label_values: labels.to_vec(),
        value: Some(UInt64Value { value }),
    }
}

/// The metrics of one pod. `image_of` names the image of a container.
fn of_pod(stats: &PodSandboxStats, image_of: impl Fn(&str) -> String) -> PodSandboxMetrics {
    let attributes = stats.attributes.clone().unwrap_or_default();
    let meta = attributes.metadata.unwrap_or_default();
    let labels = |container: &str, id: &str, image: String| {
        vec![container.to_owned(), id.to_owned(), image, id.to_owned(), meta.namespace.clone(), meta.name.clone()]
    };
    let linux = stats.linux.clone().unwrap_or_default();
    let own = labels("", &attributes.id, String::new());
    let mut metrics = Vec::new();
    let network = linux.network.unwrap_or_default();
    for interface in network.default_interface.iter().chain(&network.interfaces) {
        let mut labels = own.clone();
        labels.push(interface.name.clone());
        metrics.extend(INTERFACE.iter().filter_map(|(name, _, read)| {
            read(interface).map(|value| metric(name, MetricType::Counter, &labels, value))
        }));
    }
    if let Some(count) = linux.process.and_then(|p| p.process_count) {
        metrics.push(metric(PROCESSES.0, MetricType::Gauge, &own, count.value));
    }
    let container = |stats: &ContainerStats| {
        let attributes = stats.attributes.clone().unwrap_or_default();
        let labels = labels(&attributes.metadata.unwrap_or_default().name, &attributes.id, image_of(&attributes.id));
        let read = |(name, _, kind, read): &(&str, &str, MetricType, OfContainer)| {
            read(stats).map(|v| metric(name, *kind, &labels, v))
        };
        ContainerMetrics { container_id: attributes.id, metrics: CONTAINER.iter().filter_map(read).collect() }
    };
    PodSandboxMetrics {
        pod_sandbox_id: attributes.id,
        metrics,
        container_metrics: linux.containers.iter().map(container).collect(),
    }
}

impl Service {
    /// Metrics of the pods that are ready.
    pub(super) async fn metrics(&self) -> Vec<PodSandboxMetrics> {
        let image_of = |id: &str| {
            let record = self.0.tables.container(id).map(|container| container.get());
            record.ok().and_then(|r| r.config.image.clone()).map(|image| image.image).unwrap_or_default()
        };
        self.sandbox_stats_of(None).await.iter().map(|stats| of_pod(stats, image_of)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_a_descriptor_with_as_many_labels_as_values() {
        let some = |value| Some(UInt64Value { value });
        let psi = Some(PsiStats { some: Some(PsiData { total: 3 * SECOND, ..Default::default() }), full: None });
        let container = ContainerStats {
            attributes: Some(ContainerAttributes {
                id: "c1".into(),
                metadata: Some(ContainerMetadata { name: "main".into(), attempt: 0 }),
                ..Default::default()
            }),
            cpu: Some(CpuUsage { usage_core_nano_seconds: some(2_500_000_000), psi, ..Default::default() }),
            memory: Some(MemoryUsage { working_set_bytes: some(7), ..Default::default() }),
            ..Default::default()
        };
        let pod = PodSandboxStats {
            attributes: Some(PodSandboxAttributes {
                id: "p1".into(),
                metadata: Some(PodSandboxMetadata { name: "web".into(), namespace: "ns".into(), ..Default::default() }),
                ..Default::default()
            }),
            linux: Some(LinuxPodSandboxStats {
                network: Some(NetworkUsage {
                    default_interface: Some(NetworkInterfaceUsage {
                        name: "eth0".into(),
                        rx_bytes: some(5),
                        ..Default::default()
                    }),
                    ..Default::default()
                }),
                process: Some(ProcessUsage { timestamp: 0, process_count: some(4) }),
                containers: vec![container],
                ..Default::default()
            }),
        };
        let told = of_pod(&pod, |id| format!("image-of-{id}"));
        let all: Vec<&Metric> = told.metrics.iter().chain(&told.container_metrics[0].metrics).collect();
        let known = descriptors();
        for metric in &all {
            let descriptor = known.iter().find(|d| d.name == metric.name).expect("described");
            assert_eq!(descriptor.label_keys.len(), metric.label_values.len(), "{}", metric.name);
        }
        let read = |name: &str| {
            all.iter().find(|m| m.name == name).map(|m| (m.value.unwrap().value, m.label_values.join("|")))
        };
        assert_eq!(read("container_cpu_usage_seconds_total"), Some((2, "main|c1|image-of-c1|c1|ns|web".into())));
        assert_eq!(read("container_pressure_cpu_waiting_seconds_total").map(|(v, _)| v), Some(3));
        assert_eq!(read("container_network_receive_bytes_total"), Some((5, "|p1||p1|ns|web|eth0".into())));
        assert_eq!(read("container_processes").map(|(v, _)| v), Some(4));
        // What is not known is not told.
        assert_eq!(read("container_pressure_cpu_stalled_seconds_total"), None);
        assert_eq!(all.len(), 5);
    }
}

//! Metrics of pods and containers under cAdvisor's names (KEP-2371): [`table`] says what is told, [`facts`] what the kernel says.

mod facts;
mod table;

use std::path::Path;

use rk_cri_api::v1::{
    ContainerMetrics, ContainerState, Metric, MetricDescriptor, PodSandboxMetadata, PodSandboxMetrics, UInt64Value,
};
use rk_figures::Ask;

use super::Service;
use crate::clock::now_ns;
use crate::record::{ContainerRecord, Phase, SandboxRecord};
use crate::stats;
use facts::Facts;
use table::{CONTAINER, INTERFACE, Interface, Row};

/// Labels that every metric has, in this order.
const BASE: [&str; 6] = ["container", "id", "image", "name", "namespace", "pod"];

/// The descriptors of all metrics, in a fixed order.
pub(super) fn descriptors() -> Vec<MetricDescriptor> {
    CONTAINER.iter().map(descriptor).chain(INTERFACE.iter().map(descriptor)).collect()
}

fn descriptor<T>(row: &Row<T>) -> MetricDescriptor {
    MetricDescriptor {
        name: row.name.into(),
        help: row.help.into(),
        label_keys: BASE.iter().chain(row.labels).map(|key| (*key).to_owned()).collect(),
    }
}

/// Values of the common labels; `container` and `image` are empty for a pod itself.
fn base(container: &str, cgroup: &Path, image: &str, name: &str, pod: &PodSandboxMetadata) -> Vec<String> {
    let cgroup = cgroup.to_string_lossy();
    [container, &*cgroup, image, name, pod.namespace.as_str(), pod.name.as_str()].map(str::to_owned).into()
}

/// All that is known of `subject`.
fn told<T>(rows: &[Row<T>], subject: &T, base: &[String]) -> Vec<Metric> {
    let mut metrics = Vec::new();
    for row in rows {
        metrics.extend((row.read)(subject).into_iter().map(|(labels, value)| Metric {
            name: row.name.into(),
            timestamp: now_ns(),
            metric_type: row.kind.into(),
            label_values: base.iter().cloned().chain(labels).collect(),
            value: Some(UInt64Value { value }),
        }));
    }
    metrics
}

impl Service {
    /// Metrics of the pods that are ready.
    pub(super) async fn metrics(&self) -> Vec<PodSandboxMetrics> {
        let (mut all, layers) = (Vec::new(), stats::of_layers());
        for sandbox in self.0.tables.sandboxes() {
            let record = sandbox.get();
            if record.phase == Phase::Ready {
                all.push(self.pod_metrics(&record, layers).await);
            }
        }
        all
    }

    async fn pod_metrics(&self, record: &SandboxRecord, layers: Ask) -> PodSandboxMetrics {
        let pod = record.config.metadata.clone().unwrap_or_default();
        let own = base("", &record.cgroup_parent, "", &record.id, &pod);
        let mut metrics = Vec::new();
        for (name, counters) in stats::counters(&stats::net_dev(record).await.unwrap_or_default()) {
            metrics.extend(told(INTERFACE, &Interface { name, counters }, &own));
        }
        let mut container_metrics = Vec::new();
        for container in self.0.tables.containers_of(&record.id) {
            let container = container.get();
            if container.state() == ContainerState::ContainerRunning {
                container_metrics.push(self.container_metrics(&container, &pod, layers).await);
            }
        }
        PodSandboxMetrics { pod_sandbox_id: record.id.clone(), metrics, container_metrics }
    }

    async fn container_metrics(
        &self,
        record: &ContainerRecord,
        pod: &PodSandboxMetadata,
        layers: Ask,
    ) -> ContainerMetrics {
        let name = record.config.metadata.clone().unwrap_or_default().name;
        let image = record.config.image.clone().unwrap_or_default().image;
        let own = base(&name, &record.cgroup, &image, &record.id, pod);
        let metrics = told(CONTAINER, &self.facts(record, layers).await, &own);
        ContainerMetrics { container_id: record.id.clone(), metrics }
    }

    async fn facts(&self, record: &ContainerRecord, layers: Ask) -> Facts {
        let (dir, first, written) = (rk_sys::cgroup_dir(&record.cgroup), record.pid, self.0.config.images.root());
        let read = tokio::task::spawn_blocking(move || Facts::read(&dir, first, &written)).await;
        Facts {
            written: self.0.written(&record.id, layers).await.map(|usage| usage.bytes),
            cpu_shares: record.resources().map_or(0, |resources| resources.cpu_shares),
            started_at: record.started_at,
            seen_at: now_ns(),
            ..read.unwrap_or_default()
        }
    }
}

#[cfg(test)]
mod tests;

//! A pod's part: its containers, its network, its volumes and what it takes of the node's disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use rk_figures::{Ask, Taken};
use serde_json::{Value, json};

use super::figures::{cpu, filesystem, io, memory, network, put, swap, whole};
use super::node::on_disk;
use crate::eviction::FILES_AGE;
use crate::filesystem::FsUse;
use crate::pod::spec;
use crate::server::routes::State;
use crate::server::stats::PodUsage;
use crate::volumes::VolumeStats;

/// What the API and the kubelet know of a pod that the runtime counts.
pub struct Known {
    pod: Option<Arc<Pod>>,
    status: PodStatus,
}

impl Known {
    /// Looks the pod up; one of the same name is another.
    pub fn of(state: &State, usage: &PodUsage) -> Self {
        let pod = state.pods.find(&usage.namespace, &usage.name).filter(|pod| spec::uid(pod) == usage.uid);
        let own = state.context.status.latest(&usage.uid);
        let status = own.or_else(|| pod.as_ref().and_then(|pod| pod.status.clone())).unwrap_or_default();
        Self { pod, status }
    }
}

/// When the running instance of a container was started.
fn started(status: &PodStatus, container: &str) -> Option<Time> {
    let lists = [&status.container_statuses, &status.init_container_statuses, &status.ephemeral_container_statuses];
    let found = lists.into_iter().flatten().flatten().find(|c| c.name == container)?;
    found.state.as_ref()?.running.as_ref()?.started_at.clone()
}

/// CPU, memory and swap of a pod and of its containers.
pub fn usage(known: &Known, usage: &PodUsage, time: &str) -> Value {
    let container = |name: &str, of: &crate::server::stats::Usage| {
        let mut value = json!({
            "name": name,
            "startTime": started(&known.status, name),
            "cpu": cpu(time, of),
            "memory": memory(time, of),
            "swap": swap(time, of),
        });
        put(&mut value, "io", io(time, of));
        value
    };
    let containers: Vec<Value> = usage.containers.iter().map(|c| container(&c.name, &c.usage)).collect();
    let mut value = json!({
        "podRef": {"name": usage.name, "namespace": usage.namespace, "uid": usage.uid},
        "startTime": known.status.start_time,
        "containers": containers,
        "cpu": cpu(time, &usage.usage),
        "memory": memory(time, &usage.usage),
        "swap": swap(time, &usage.usage),
    });
    put(&mut value, "io", io(time, &usage.usage));
    value
}

/// What a pod takes of disks.
pub struct Disk {
    /// The file system of the kubelet's directory.
    pods: Option<FsUse>,
    /// The file system of the logs.
    logs_on: Option<FsUse>,
    /// Logs by container.
    logs: BTreeMap<String, Taken>,
    /// The kubelet's own files of the pod.
    own: Taken,
    /// Its volumes.
    volumes: Vec<VolumeStats>,
}

impl Disk {
    /// Looks at the disks; for volumes as long as `volumes` says.
    pub async fn of(state: &State, known: &Known, usage: &PodUsage, volumes: Ask) -> Self {
        let (context, dirs) = (&state.context, &state.context.options.dirs);
        let files = Ask { max_age: FILES_AGE, ..volumes };
        let held = context.volumes.stats(&usage.uid, volumes).await;
        let dir = context.volumes.pod_dir(&usage.uid);
        let local = context.local.of(&usage.uid, known.pod.as_ref(), dir, files).await;
        Self {
            pods: FsUse::of(&dirs.kubelet),
            logs_on: FsUse::of(&dirs.pod_logs),
            logs: local.logs,
            own: local.own,
            volumes: held,
        }
    }

    /// What counts as the pod's ephemeral storage: writable layers, logs, emptyDirs on disk and the kubelet's own files.
    fn ephemeral(&self, usage: &PodUsage) -> Option<FsUse> {
        let value = |number: Option<u64>| number.unwrap_or(0);
        let layers = usage.containers.iter().filter_map(|c| c.layer.as_ref()).map(|layer| Taken {
            bytes: value(layer.used_bytes.as_ref().map(|v| v.value)),
            inodes: value(layer.inodes_used.as_ref().map(|v| v.value)),
        });
        let used = |list: Option<[u64; 3]>| list.map_or(0, |[.., used]| used);
        let volumes = self.volumes.iter().filter(|v| v.ephemeral);
        let volumes = volumes.map(|v| Taken { bytes: used(v.bytes), inodes: used(v.inodes) });
        let all = layers.chain(volumes).chain(self.logs.values().copied()).chain([self.own]);
        let sum = all.fold(Taken::default(), |sum, one| Taken {
            bytes: sum.bytes.saturating_add(one.bytes),
            inodes: sum.inodes.saturating_add(one.inodes),
        });
        self.pods.map(|fs| fs.with_used(sum.bytes, sum.inodes))
    }
}

/// What else is known: network, processes, disks and volumes.
pub fn rest(value: &mut Value, usage: &PodUsage, disk: &Disk, time: &str) {
    put(value, "network", network(time, &usage.network, usage.network.first()));
    put(value, "process_stats", usage.processes.map(|count| json!({"process_count": count})));
    put(value, "ephemeral-storage", disk.ephemeral(usage).map(|fs| whole(time, fs)));
    let volumes: Vec<Value> = disk.volumes.iter().map(|v| volume(v, &usage.namespace, time)).collect();
    put(value, "volume", Some(volumes.into()));
    let containers = value.get_mut("containers").and_then(Value::as_array_mut).into_iter().flatten();
    for (container, of) in containers.zip(&usage.containers) {
        put(container, "rootfs", of.layer.as_ref().and_then(on_disk).map(|fs| whole(time, fs)));
        let logs = disk.logs_on.zip(disk.logs.get(&of.name));
        put(container, "logs", logs.map(|(fs, taken)| whole(time, fs.with_used(taken.bytes, taken.inodes))));
    }
}

fn volume(stats: &VolumeStats, namespace: &str, time: &str) -> Value {
    let mut value = filesystem(time, stats.bytes, stats.inodes);
    put(&mut value, "name", Some(json!(stats.name)));
    put(&mut value, "pvcRef", stats.claim.as_ref().map(|claim| json!({"name": claim, "namespace": namespace})));
    put(&mut value, "volumeHealthStats", stats.abnormal.as_ref().map(|_| json!({"abnormal": true})));
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::stats::{ContainerUsage, Interface};
    use rk_cri_api::v1::{FilesystemUsage, UInt64Value};

    const TIME: &str = "2026-01-01T00:00:00Z";

    fn example() -> (Known, PodUsage, Disk) {
        let status = json!({"startTime": "2026-01-01T00:00:00Z", "containerStatuses": [{"name": "a", "ready": true,
            "restartCount": 1, "image": "", "imageID": "", "state": {"running": {"startedAt": "2026-01-01T00:00:05Z"}}}]});
        let layer = FilesystemUsage {
            used_bytes: Some(UInt64Value { value: 10 }),
            inodes_used: Some(UInt64Value { value: 1 }),
            ..Default::default()
        };
        let usage = PodUsage {
            name: "web".into(),
            namespace: "ns".into(),
            containers: vec![ContainerUsage { name: "a".into(), usage: Default::default(), layer: Some(layer) }],
            network: vec![Interface { name: "eth0".into(), rx_errors: Some(0), ..Default::default() }],
            processes: Some(3),
            ..Default::default()
        };
        let fs = FsUse { bytes: [1000, 500, 400], inodes: [100, 50, 50] };
        let held = |name: &str, ephemeral| VolumeStats {
            name: name.into(),
            bytes: Some([1000, 500, 7]),
            inodes: Some([100, 50, 2]),
            ephemeral,
            ..Default::default()
        };
        let disk = Disk {
            pods: Some(fs),
            logs_on: Some(fs),
            logs: [("a".to_owned(), Taken { bytes: 20, inodes: 2 })].into(),
            own: Taken { bytes: 3, inodes: 1 },
            volumes: vec![held("cache", true), held("data", false)],
        };
        (Known { pod: None, status: serde_json::from_value(status).unwrap() }, usage, disk)
    }

    #[test]
    fn a_pod_is_told_with_all_that_it_takes() {
        let (known, of_pod, disk) = example();
        let mut value = usage(&known, &of_pod, TIME);
        assert_eq!(value["startTime"], "2026-01-01T00:00:00Z");
        assert_eq!(value["containers"][0]["startTime"], "2026-01-01T00:00:05Z");
        assert_eq!(value.get("volume"), None);
        rest(&mut value, &of_pod, &disk, TIME);
        assert_eq!(value["process_stats"], json!({"process_count": 3}));
        assert_eq!(value["network"]["name"], "eth0");
        assert_eq!(value["network"]["interfaces"], json!([{"name": "eth0", "rxErrors": 0}]));
        // 10 in the layer, 20 of logs, 7 in the emptyDir, 3 of the kubelet's own.
        let want = json!({"time": TIME, "capacityBytes": 1000, "availableBytes": 500, "usedBytes": 40,
            "inodes": 100, "inodesFree": 50, "inodesUsed": 6});
        assert_eq!(value["ephemeral-storage"], want);
        assert_eq!(value["containers"][0]["logs"]["usedBytes"], 20);
        assert_eq!(value["volume"][1]["name"], "data");
        assert_eq!(value["volume"][1].get("pvcRef"), None);
    }

    #[test]
    fn only_what_runs_has_been_started() {
        let (known, ..) = example();
        assert!(started(&known.status, "a").is_some());
        assert_eq!(started(&known.status, "b"), None);
    }
}

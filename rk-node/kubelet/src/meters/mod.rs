//! What the kubelet counts of its own work, under the names that dashboards know (`pkg/kubelet/metrics/metrics.go`). It goes along with the
//! handle of the runtime, which all have who work.

mod claims;
mod counter;
mod entry;
mod gauge;
mod image_volumes;
mod link;
mod managers;
mod own_users;
mod resizes;
mod sizes;
mod starts;
mod storage;
mod timing;

use std::time::Duration;

use claims::ClaimMeters;
pub use counter::Counter;
use entry::Entry;
pub use gauge::Gauge;
use image_volumes::ImageVolumes;
pub use link::LinkMeters;
use managers::Managers;
use own_users::OwnUsers;
use resizes::Resizes;
use sizes::size_class;
use starts::Starts;
use storage::StorageMeters;
pub use timing::Timing;

/// Bounds for what takes a moment, seconds.
const MOMENTS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Bounds for calls of the runtime, some of which wait for containers or registries, seconds.
const CALLS: &[f64] = &[
    0.005,
    0.0125,
    0.03125,
    0.078125,
    0.1953125,
    0.48828125,
    1.220703125,
    3.0517578125,
    7.62939453125,
    19.073486328125,
    47.6837158203125,
    119.20928955078125,
    298.0232238769531,
    745.0580596923828,
];
/// Bounds for starts of pods, seconds.
const STARTS: &[f64] = &[
    0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 20.0, 30.0, 45.0, 60.0, 120.0, 180.0, 240.0, 300.0, 360.0, 480.0,
    600.0, 900.0, 1200.0, 1800.0, 2700.0, 3600.0,
];

/// Bounds for pulls of images, seconds.
const PULLS: &[f64] = &[
    1.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 180.0, 240.0, 300.0, 360.0, 480.0, 600.0, 900.0, 1200.0, 1800.0, 2700.0,
    3600.0,
];
/// All counters.
pub struct Meters {
    operations: Counter,
    operation_errors: Counter,
    operation_durations: Timing,
    /// Relists.
    pub relists: Timing,
    /// Time between their beginnings.
    pub relist_intervals: Timing,
    /// When the last one began that went well, seconds since 1970.
    pub last_relist: Gauge,
    /// Looks of pods' workers, by why they looked.
    pub pod_workers: Timing,
    /// From the first sight of a pod until it runs.
    pub pod_starts: Timing,
    /// Sandboxes that were to start.
    pub started_pods: Counter,
    /// Those of them that did not.
    pub started_pods_errors: Counter,
    /// Static pods whose manifest was taken away and put back.
    pub restarted_pods: Counter,
    /// Changes of pods' cgroups.
    pub cgroups: Timing,
    /// Containers that were to start, by their kind.
    pub started_containers: Counter,
    /// Those of them that did not, by kind and reason.
    pub started_containers_errors: Counter,
    /// Ends of containers, by their kind, how they ended and why.
    pub terminated_containers: Counter,
    /// Pods that had to go, by what was short.
    pub evictions: Counter,
    /// Images that were removed, by why.
    pub collected_images: Counter,
    image_pulls: Timing,
    /// Requests to this server.
    pub requests: Counter,
    /// How long they took.
    pub request_durations: Timing,
    /// Probes, each by what came of it; told on a page of their own.
    pub probes: Counter,
    /// How long probes took.
    pub probe_durations: Timing,
    /// What comes to the node.
    pub entry: Entry,
    /// What pods ask of the managers of CPUs, memory and topology.
    pub managers: Managers,
    /// Pods with users of their own.
    pub own_users: OwnUsers,
    /// Volumes that are images.
    pub image_volumes: ImageVolumes,
    /// Claims of devices.
    pub claims: ClaimMeters,
    /// Resizes of pods.
    pub resizes: Resizes,
    /// Starts of pods, as who watches the API sees them.
    pub starts: Starts,
    /// Volumes of pods.
    pub storage: StorageMeters,
}

impl std::fmt::Debug for Meters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meters").finish_non_exhaustive()
    }
}

impl Default for Meters {
    fn default() -> Self {
        const OPERATION: &[&str] = &["operation_type"];
        const REQUEST: &[&str] = &["long_running", "method", "path", "server_type"];
        Self {
            operations: Counter::new(
                "kubelet_runtime_operations_total",
                "Cumulative number of runtime operations by operation type.",
                OPERATION,
            ),
            operation_errors: Counter::new(
                "kubelet_runtime_operations_errors_total",
                "Cumulative number of runtime operation errors by operation type.",
                OPERATION,
            ),
            operation_durations: Timing::new(
                "kubelet_runtime_operations_duration_seconds",
                "Duration in seconds of runtime operations by operation type.",
                OPERATION,
                CALLS,
            ),
            relists: Timing::new(
                "kubelet_pleg_relist_duration_seconds",
                "Duration in seconds for relisting pods in PLEG.",
                &[],
                MOMENTS,
            ),
            relist_intervals: Timing::new(
                "kubelet_pleg_relist_interval_seconds",
                "Interval in seconds between relisting in PLEG.",
                &[],
                MOMENTS,
            ),
            last_relist: Gauge::new(
                "kubelet_pleg_last_seen_seconds",
                "Timestamp in seconds when PLEG was last seen active.",
            ),
            pod_workers: Timing::new(
                "kubelet_pod_worker_duration_seconds",
                "Duration in seconds to sync a single pod, by operation type: create, update or sync",
                OPERATION,
                MOMENTS,
            ),
            pod_starts: Timing::new(
                "kubelet_pod_start_duration_seconds",
                "Duration in seconds from the kubelet seeing a pod for the first time to the pod starting to run",
                &[],
                STARTS,
            ),
            started_pods: Counter::new("kubelet_started_pods_total", "Cumulative number of pods started", &[]),
            started_pods_errors: Counter::new(
                "kubelet_started_pods_errors_total",
                "Cumulative number of errors when starting pods",
                &[],
            ),
            restarted_pods: Counter::new(
                "kubelet_restarted_pods_total",
                "Number of pods that have been restarted because they were deleted and recreated with the same UID.",
                &["static"],
            ),
            cgroups: Timing::new(
                "kubelet_cgroup_manager_duration_seconds",
                "Duration in seconds for changes of cgroups, by what was done.",
                OPERATION,
                MOMENTS,
            ),
            started_containers: Counter::new(
                "kubelet_started_containers_total",
                "Cumulative number of containers started",
                &["container_type"],
            ),
            started_containers_errors: Counter::new(
                "kubelet_started_containers_errors_total",
                "Cumulative number of errors when starting containers",
                &["code", "container_type"],
            ),
            terminated_containers: Counter::new(
                "kubelet_terminated_containers_total",
                "Cumulative number of container terminations.",
                &["container_type", "exit_code", "reason"],
            ),
            evictions: Counter::new(
                "kubelet_evictions",
                "Cumulative number of pod evictions by eviction signal",
                &["eviction_signal"],
            ),
            collected_images: Counter::new(
                "kubelet_image_garbage_collected_total",
                "Total number of images garbage collected by the kubelet, by reason.",
                &["reason"],
            ),
            image_pulls: Timing::new(
                "kubelet_image_pull_duration_seconds",
                "Duration in seconds to pull an image.",
                &["image_size_in_bytes"],
                PULLS,
            ),
            requests: Counter::new(
                "kubelet_http_requests_total",
                "Number of the http requests received since the server started",
                REQUEST,
            ),
            request_durations: Timing::new(
                "kubelet_http_requests_duration_seconds",
                "Duration in seconds to serve http requests",
                REQUEST,
                MOMENTS,
            ),
            probes: Counter::new(
                "prober_probe_total",
                "Cumulative number of a liveness, readiness or startup probe for a container by result.",
                &["container", "namespace", "pod", "pod_uid", "probe_type", "result"],
            ),
            probe_durations: Timing::new(
                "prober_probe_duration_seconds",
                "Duration in seconds for a probe response.",
                &["container", "namespace", "pod", "probe_type"],
                MOMENTS,
            ),
            entry: Entry::default(),
            managers: Managers::default(),
            own_users: OwnUsers::default(),
            image_volumes: ImageVolumes::default(),
            claims: ClaimMeters::default(),
            resizes: Resizes::default(),
            starts: Starts::default(),
            storage: StorageMeters::default(),
        }
    }
}

impl Meters {
    /// A call of the runtime that has ended.
    pub fn called(&self, call: &str, took: Duration, good: bool) {
        let operation = operation(call);
        let labels = [operation.as_str()];
        self.operations.add(&labels);
        self.operation_durations.observe(&labels, took);
        if !good {
            self.operation_errors.add(&labels);
        }
    }

    /// An image of so many bytes was pulled.
    pub fn pulled(&self, size: u64, took: Duration) {
        self.image_pulls.observe(&[size_class(size)], took);
    }

    /// A pod has ended: nothing is told of its probes any more.
    pub fn forget_probes(&self, namespace: &str, pod: &str, uid: &str) {
        self.probes.forget(|values| values.get(1..4).is_some_and(|of| of == [namespace, pod, uid]));
        self.probe_durations.forget(|values| values.get(1..3).is_some_and(|of| of == [namespace, pod]));
    }

    /// The counters of `/metrics`.
    pub fn counters(&self) -> impl Iterator<Item = &Counter> {
        let own = [
            &self.operations,
            &self.operation_errors,
            &self.started_pods,
            &self.started_pods_errors,
            &self.restarted_pods,
            &self.started_containers,
            &self.started_containers_errors,
            &self.terminated_containers,
            &self.evictions,
            &self.collected_images,
            &self.requests,
        ];
        let parts = self.entry.counters().into_iter().chain(self.managers.counters()).chain(self.resizes.counters());
        parts.chain(self.own_users.counters()).chain(self.image_volumes.counters()).chain(own)
    }

    /// The timings of `/metrics`.
    pub fn timings(&self) -> impl Iterator<Item = &Timing> {
        let own = [
            &self.operation_durations,
            &self.relists,
            &self.relist_intervals,
            &self.pod_workers,
            &self.pod_starts,
            &self.cgroups,
            &self.image_pulls,
            &self.request_durations,
        ];
        let parts = [self.entry.timing(), self.managers.timing(), self.resizes.timing()];
        let of_others = self.starts.timings().into_iter().chain(self.claims.timings()).chain(self.storage.timings());
        parts.into_iter().chain(of_others).chain(own)
    }
}

/// Upstream's name of a CRI call (`pkg/kubelet/kuberuntime/instrumented_services.go`).
fn operation(call: &str) -> String {
    if call == "UpdateContainerResources" {
        return "update_container".to_owned();
    }
    let mut name = String::new();
    for letter in call.replace("PodSandbox", "Podsandbox").chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_have_upstream_s_names() {
        for (call, want) in [
            ("Version", "version"),
            ("ListPodSandbox", "list_podsandbox"),
            ("PodSandboxStatus", "podsandbox_status"),
            ("ReopenContainerLog", "reopen_container_log"),
            ("ImageFsInfo", "image_fs_info"),
            ("UpdateContainerResources", "update_container"),
        ] {
            assert_eq!(operation(call), want);
        }
    }

    #[test]
    fn a_call_that_failed_is_an_operation_and_an_error() {
        let meters = Meters::default();
        meters.called("PullImage", Duration::from_secs(1), true);
        meters.called("PullImage", Duration::from_secs(1), false);
        let key = vec!["pull_image".to_owned()];
        assert_eq!(meters.operations.read().get(&key), Some(&2));
        assert_eq!(meters.operation_errors.read().get(&key), Some(&1));
        assert_eq!(meters.operation_durations.read().get(&key).map(|spread| spread.count), Some(2));
    }

    #[test]
    fn probes_are_told_as_long_as_their_pod() {
        let meters = Meters::default();
        for (namespace, pod, uid) in [("n", "a", "1"), ("n", "b", "2"), ("a", "n", "1"), ("n", "a", "3")] {
            meters.probes.add(&["c", namespace, pod, uid, "Liveness", "successful"]);
            meters.probe_durations.observe(&["c", namespace, pod, "Liveness"], Duration::from_secs(1));
        }
        meters.forget_probes("n", "a", "1");
        let probes = meters.probes.read();
        assert_eq!(probes.keys().map(|key| key[3].as_str()).collect::<Vec<_>>(), ["1", "3", "2"]);
        let durations = meters.probe_durations.read();
        assert_eq!(durations.keys().map(|key| key[2].as_str()).collect::<Vec<_>>(), ["n", "b"]);
    }
}

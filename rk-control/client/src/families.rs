//! The figures of control loops and of their client, by name.

/// Upper bounds of the time that keys wait and are worked on, in seconds; upstream's, each ten times the one before as machines multiply.
const QUEUE: &[f64] = &[1e-8, 1e-7, 1e-6, 9.999999999999999e-6, 9.999999999999999e-5, 1e-3, 0.01, 0.1, 1.0, 10.0];
/// Of attempts to schedule; upstream's.
const SCHEDULING: &[f64] = &doubling::<15>(0.001);
/// From when a pod could be decided until it is placed; upstream's.
const PLACING: &[f64] = &doubling::<20>(0.01);
/// Of the parts of an attempt to schedule; upstream's.
const EXTENSION: &[f64] = &doubling::<12>(0.0001);
/// Of runs over a Job; upstream's.
const JOBS: &[f64] = &doubling::<15>(0.004);
/// From when a CronJob was to start a Job until it did; upstream's.
const SKEW: &[f64] = &doubling::<10>(1.0);
/// How often a pod was tried until it was placed; upstream's.
const ATTEMPTS: &[f64] = &doubling::<5>(1.0);
/// Pods that leave for another one; upstream's.
const VICTIMS: &[f64] = &doubling::<7>(1.0);
/// Of requests to the API; upstream's.
const REQUESTS: &[f64] = &[0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0];

/// From a device's taint to the end of a pod that does not tolerate it; upstream's.
const EVICTION: &[f64] = &[0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 30.0, 60.0, 120.0, 180.0, 240.0];

/// Bounds of which each is twice the one before.
const fn doubling<const COUNT: usize>(first: f64) -> [f64; COUNT] {
    let mut bounds = [first; COUNT];
    let mut at = 1;
    while at < COUNT {
        bounds[at] = bounds[at - 1] * 2.0;
        at += 1;
    }
    bounds
}

/// All series of one name.
pub(crate) struct Family {
    /// Its name, upstream's.
    pub(crate) name: &'static str,
    /// What upstream promises of the name.
    pub(crate) stage: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub(crate) kind: &'static str,
    /// What it says.
    pub(crate) help: &'static str,
    /// Upper bounds of a histogram.
    pub(crate) bounds: &'static [f64],
}

const fn family(name: &'static str, kind: &'static str, help: &'static str, bounds: &'static [f64]) -> Family {
    Family { name, stage: "ALPHA", kind, help, bounds }
}

const fn beta(own: Family) -> Family {
    Family { stage: "BETA", ..own }
}

const fn stable(own: Family) -> Family {
    Family { stage: "STABLE", ..own }
}

/// In the order of their names, which is the one that they are told in.
pub(crate) static FAMILIES: &[Family] = &[
    stable(family(
        "cronjob_controller_job_creation_skew_duration_seconds",
        "histogram",
        "Time from when a CronJob was to start a Job until it did.",
        SKEW,
    )),
    family(
        "device_taint_eviction_controller_pod_deletion_duration_seconds",
        "histogram",
        "Time from when a pod was to be evicted for a device's taint to its deletion.",
        EVICTION,
    ),
    family(
        "device_taint_eviction_controller_pod_deletions_total",
        "counter",
        "Pods that were evicted for a device's taint.",
        &[],
    ),
    family(
        "job_controller_job_finished_indexes_total",
        "counter",
        "Indexes of Jobs that are done, or failed for good.",
        &[],
    ),
    stable(family(
        "job_controller_job_pods_finished_total",
        "counter",
        "Pods of Jobs that came to an end and are counted in their status.",
        &[],
    )),
    stable(family("job_controller_job_sync_duration_seconds", "histogram", "Time of a run over a Job.", JOBS)),
    stable(family("job_controller_job_syncs_total", "counter", "Runs over Jobs, by what they did about pods.", &[])),
    stable(family("job_controller_jobs_finished_total", "counter", "Jobs that came to an end, by which and why.", &[])),
    family("leader_election_master_status", "gauge", "Whether this process holds a Lease; 1 is yes.", &[]),
    stable(family(
        "node_collector_evictions_total",
        "counter",
        "Nodes whose pods are evicted since nobody hears of the node, or it is not ready.",
        &[],
    )),
    family(
        "resourceclaim_controller_creates_total",
        "counter",
        "Attempts to make ResourceClaims, by what came of it and admin access.",
        &[],
    ),
    family(
        "resourceclaim_controller_resource_claims",
        "gauge",
        "ResourceClaims, by allocation, admin access and source.",
        &[],
    ),
    family(
        "rest_client_request_duration_seconds",
        "histogram",
        "Time of the API to answer the components, watches aside.",
        REQUESTS,
    ),
    family("rest_client_requests_total", "counter", "Requests of the components to the API, by method and code.", &[]),
    stable(family(
        "scheduler_framework_extension_point_duration_seconds",
        "histogram",
        "Time to find pods that leave for another one (PostFilter), to bind a pod's claims (PreBind) and the pod (Bind).",
        EXTENSION,
    )),
    stable(family("scheduler_pending_pods", "gauge", "Pods that wait to be scheduled, by queue.", &[])),
    stable(family(
        "scheduler_pod_scheduling_attempts",
        "histogram",
        "How often pods were tried until they were placed.",
        ATTEMPTS,
    )),
    beta(family(
        "scheduler_pod_scheduling_sli_duration_seconds",
        "histogram",
        "Time from when a pod could be decided until it was placed, by the number of attempts.",
        PLACING,
    )),
    stable(family("scheduler_preemption_attempts_total", "counter", "Attempts to make room for a pod.", &[])),
    stable(family(
        "scheduler_preemption_victims",
        "histogram",
        "Pods that leave for another one, per attempt.",
        VICTIMS,
    )),
    stable(family(
        "scheduler_queue_incoming_pods_total",
        "counter",
        "Pods that came into a queue, by what brought them there.",
        &[],
    )),
    family(
        "scheduler_resourceclaim_creates_total",
        "counter",
        "Attempts to make ResourceClaims for extended resources, by what came of it.",
        &[],
    ),
    stable(family(
        "scheduler_schedule_attempts_total",
        "counter",
        "Attempts to schedule a pod, by what came of it.",
        &[],
    )),
    family(
        "scheduler_scheduling_algorithm_duration_seconds",
        "histogram",
        "Time to find a node for a pod.",
        SCHEDULING,
    ),
    stable(family(
        "scheduler_scheduling_attempt_duration_seconds",
        "histogram",
        "Time of an attempt to schedule a pod, by what came of it; until it is bound, where a node was found.",
        SCHEDULING,
    )),
    beta(family(
        "statefulset_controller_statefulset_max_unavailable",
        "gauge",
        "Pods of a StatefulSet that may be missing while they are replaced.",
        &[],
    )),
    beta(family(
        "statefulset_controller_statefulset_unavailable_replicas",
        "gauge",
        "Pods of a StatefulSet that are wanted and not available.",
        &[],
    )),
    family("workqueue_adds_total", "counter", "Keys that were added to a queue.", &[]),
    family("workqueue_depth", "gauge", "Keys that wait in a queue.", &[]),
    family("workqueue_queue_duration_seconds", "histogram", "Time that keys waited in a queue.", QUEUE),
    family("workqueue_retries_total", "counter", "Keys that were added again after a failure.", &[]),
    family("workqueue_work_duration_seconds", "histogram", "Time that work on a key took.", QUEUE),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_come_in_the_order_of_their_names_and_bounds_are_upstreams() {
        assert!(FAMILIES.is_sorted_by(|one, next| one.name < next.name));
        assert_eq!(&PLACING[17..], &[1310.72, 2621.44, 5242.88]);
        assert_eq!((SCHEDULING[14], JOBS[14], EXTENSION[11], SKEW[9]), (16.384, 65.536, 0.2048, 512.0));
    }
}

//! The figures of control loops and of their client, by name.

/// Upper bounds of the time that keys wait and are worked on, in seconds; upstream's, each ten times the one before as machines multiply.
const QUEUE: &[f64] = &[1e-8, 1e-7, 1e-6, 9.999999999999999e-6, 9.999999999999999e-5, 1e-3, 0.01, 0.1, 1.0, 10.0];
/// Of attempts to schedule; upstream's.
const SCHEDULING: &[f64] =
    &[0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384];

/// From when a pod could be decided until it is placed; upstream's.
const PLACING: &[f64] = &[
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84, 327.68, 655.36,
    1310.72, 2621.44, 5242.88,
];
/// Of requests to the API; upstream's.
const REQUESTS: &[f64] = &[0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0];

/// From a device's taint to the end of a pod that does not tolerate it; upstream's.
const EVICTION: &[f64] = &[0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 30.0, 60.0, 120.0, 180.0, 240.0];

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
    stable(family("scheduler_pending_pods", "gauge", "Pods that wait to be scheduled, by queue.", &[])),
    beta(family(
        "scheduler_pod_scheduling_sli_duration_seconds",
        "histogram",
        "Time from when a pod could be decided until it was placed, by the number of attempts.",
        PLACING,
    )),
    stable(family("scheduler_preemption_attempts_total", "counter", "Attempts to make room for a pod.", &[])),
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
    family("workqueue_adds_total", "counter", "Keys that were added to a queue.", &[]),
    family("workqueue_depth", "gauge", "Keys that wait in a queue.", &[]),
    family("workqueue_queue_duration_seconds", "histogram", "Time that keys waited in a queue.", QUEUE),
    family("workqueue_retries_total", "counter", "Keys that were added again after a failure.", &[]),
    family("workqueue_work_duration_seconds", "histogram", "Time that work on a key took.", QUEUE),
];

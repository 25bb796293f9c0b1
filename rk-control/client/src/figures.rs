//! Figures of control loops and of their client, under upstream's names, in Prometheus' text format.
//!
//! One table for the process: loops come and go with leadership, what they counted stays. The names are fixed here and labels come
//! from the program's own text, so that the number of series is bounded.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

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

struct Family {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    bounds: &'static [f64],
}

const fn family(name: &'static str, kind: &'static str, help: &'static str, bounds: &'static [f64]) -> Family {
    Family { name, kind, help, bounds }
}

static FAMILIES: &[Family] = &[
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
    family("scheduler_pending_pods", "gauge", "Pods that wait to be scheduled, by queue.", &[]),
    family(
        "scheduler_pod_scheduling_sli_duration_seconds",
        "histogram",
        "Time from when a pod could be decided until it was placed, by the number of attempts.",
        PLACING,
    ),
    family("scheduler_preemption_attempts_total", "counter", "Attempts to make room for a pod.", &[]),
    family(
        "scheduler_resourceclaim_creates_total",
        "counter",
        "Attempts to make ResourceClaims for extended resources, by what came of it.",
        &[],
    ),
    family("scheduler_schedule_attempts_total", "counter", "Attempts to schedule a pod, by what came of it.", &[]),
    family(
        "scheduler_scheduling_algorithm_duration_seconds",
        "histogram",
        "Time to find a node for a pod.",
        SCHEDULING,
    ),
    family(
        "scheduler_scheduling_attempt_duration_seconds",
        "histogram",
        "Time of an attempt to schedule a pod, by what came of it; until it is bound, where a node was found.",
        SCHEDULING,
    ),
    family("workqueue_adds_total", "counter", "Keys that were added to a queue.", &[]),
    family("workqueue_depth", "gauge", "Keys that wait in a queue.", &[]),
    family("workqueue_queue_duration_seconds", "histogram", "Time that keys waited in a queue.", QUEUE),
    family("workqueue_retries_total", "counter", "Keys that were added again after a failure.", &[]),
    family("workqueue_work_duration_seconds", "histogram", "Time that work on a key took.", QUEUE),
];

#[derive(Default)]
struct Series {
    value: f64,
    /// Of histograms: how many were at most as large as each bound.
    counts: Vec<u64>,
    total: u64,
}

type Labels = String;

static TABLE: Mutex<BTreeMap<(&'static str, Labels), Series>> = Mutex::new(BTreeMap::new());

fn change(name: &'static str, labels: &[(&str, &str)], apply: impl FnOnce(&mut Series)) {
    apply(TABLE.lock().unwrap_or_else(PoisonError::into_inner).entry((name, text(labels))).or_default());
}

/// Labels as they are written; each key of each queue comes here several times.
fn text(labels: &[(&str, &str)]) -> String {
    let mut text = String::with_capacity(64);
    for (key, value) in labels {
        let comma = if text.is_empty() { "" } else { "," };
        for part in [comma, *key, "=\"", *value, "\""] {
            text.push_str(part);
        }
    }
    text
}

/// Counts one more.
pub fn count(name: &'static str, labels: &[(&str, &str)]) {
    change(name, labels, |series| series.value += 1.0);
}

/// Notes how many there are now.
pub fn set(name: &'static str, labels: &[(&str, &str)], value: usize) {
    change(name, labels, |series| series.value = value as f64);
}

/// Notes how long something took.
pub fn observe(name: &'static str, labels: &[(&str, &str)], took: Duration) {
    let seconds = took.as_secs_f64();
    let bounds = FAMILIES.iter().find(|family| family.name == name).map_or(&[][..], |family| family.bounds);
    change(name, labels, |series| {
        series.counts.resize(bounds.len(), 0);
        series.value += seconds;
        series.total += 1;
        for (bound, count) in bounds.iter().zip(&mut series.counts) {
            *count += u64::from(seconds <= *bound);
        }
    });
}

/// A bound as Go writes it: those below a ten thousandth by their power. It is a label, which readers compare letter by letter.
fn written(bound: f64) -> String {
    if bound >= 1e-4 { bound.to_string() } else { format!("{bound:e}").replace("e-", "e-0") }
}

/// All figures as text.
pub fn render_figures() -> String {
    let mut out = String::new();
    let table = TABLE.lock().unwrap_or_else(PoisonError::into_inner);
    for Family { name, kind, help, bounds } in FAMILIES {
        let of_name = table.range((*name, String::new())..).take_while(|((own, _), _)| own == name);
        for (index, ((_, labels), series)) in of_name.enumerate() {
            if index == 0 {
                let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
            }
            let braced = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
            if *kind != "histogram" {
                let _ = writeln!(out, "{name}{braced} {}", series.value);
                continue;
            }
            let comma = if labels.is_empty() { "" } else { "," };
            for (bound, count) in bounds.iter().zip(&series.counts) {
                let _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"{}\"}} {count}", written(*bound));
            }
            let _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {}", series.total);
            let _ = writeln!(out, "{name}_sum{braced} {}\n{name}_count{braced} {}", series.value, series.total);
        }
    }
    drop(table);
    crate::running::render(&mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_told_by_name_and_labels() {
        let own = [("name", "own")];
        count("workqueue_adds_total", &own);
        count("workqueue_adds_total", &own);
        set("workqueue_depth", &own, 3);
        observe("workqueue_work_duration_seconds", &own, Duration::from_millis(5));
        count("scheduler_preemption_attempts_total", &[]);
        let text = render_figures();
        for line in [
            "# TYPE workqueue_adds_total counter",
            "workqueue_adds_total{name=\"own\"} 2",
            "workqueue_depth{name=\"own\"} 3",
            "workqueue_work_duration_seconds_bucket{name=\"own\",le=\"1e-08\"} 0",
            "workqueue_work_duration_seconds_bucket{name=\"own\",le=\"9.999999999999999e-05\"} 0",
            "workqueue_work_duration_seconds_bucket{name=\"own\",le=\"0.001\"} 0",
            "workqueue_work_duration_seconds_bucket{name=\"own\",le=\"0.01\"} 1",
            "workqueue_work_duration_seconds_count{name=\"own\"} 1",
            "scheduler_preemption_attempts_total 1",
        ] {
            assert!(text.lines().any(|own| own == line), "{line}\n{text}");
        }
    }
}

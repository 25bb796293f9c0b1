//! Figures of control loops and of their client, under upstream's names, in Prometheus' text format.
//!
//! One table for the process: loops come and go with leadership, what they counted stays. The names are fixed here and labels come
//! from the program's own text, or name an object and are forgotten with it, so that the number of series is bounded.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::families::{FAMILIES, Family};

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
    add(name, labels, 1);
}

/// Counts so many more.
pub fn add(name: &'static str, labels: &[(&str, &str)], more: usize) {
    change(name, labels, |series| series.value += more as f64);
}

/// Notes how many there are now.
pub fn set(name: &'static str, labels: &[(&str, &str)], value: usize) {
    change(name, labels, |series| series.value = value as f64);
}

/// Tells no more of what is gone.
pub fn forget(name: &'static str, labels: &[(&str, &str)]) {
    TABLE.lock().unwrap_or_else(PoisonError::into_inner).remove(&(name, text(labels)));
}

/// Notes how long something took.
pub fn observe(name: &'static str, labels: &[(&str, &str)], took: Duration) {
    sample(name, labels, took.as_secs_f64());
}

/// Notes how many there were of something this time.
pub fn sample(name: &'static str, labels: &[(&str, &str)], value: f64) {
    let bounds = FAMILIES.iter().find(|family| family.name == name).map_or(&[][..], |family| family.bounds);
    change(name, labels, |series| {
        series.counts.resize(bounds.len(), 0);
        series.value += value;
        series.total += 1;
        for (bound, count) in bounds.iter().zip(&mut series.counts) {
            *count += u64::from(value <= *bound);
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
    for Family { name, stage, kind, help, bounds } in FAMILIES {
        let of_name = table.range((*name, String::new())..).take_while(|((own, _), _)| own == name);
        for (index, ((_, labels), series)) in of_name.enumerate() {
            if index == 0 {
                let _ = writeln!(out, "# HELP {name} [{stage}] {help}\n# TYPE {name} {kind}");
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
            "# HELP workqueue_adds_total [ALPHA] Keys that were added to a queue.",
            "# TYPE workqueue_adds_total counter",
            "# HELP scheduler_preemption_attempts_total [STABLE] Attempts to make room for a pod.",
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

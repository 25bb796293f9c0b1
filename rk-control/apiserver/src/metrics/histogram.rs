//! Histograms of durations and sizes.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::help;

/// Upper bounds of the size of answers, in bytes; upstream's.
pub(super) const SIZE_BOUNDS: &[f64] = &[1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
/// Upper bounds of the time to answer requests, in seconds; upstream's.
pub(super) const REQUEST_BOUNDS: &[f64] = &[
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0,
];
/// Upper bounds of the store's answers; upstream's.
const STORE_BOUNDS: &[f64] = &[0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0];

/// How many took up to how long.
pub(super) struct Histogram {
    bounds: &'static [f64],
    counts: Vec<u64>,
    total: u64,
    sum: f64,
}

impl Histogram {
    pub(super) fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len()], total: 0, sum: 0.0 }
    }

    pub(super) fn observe(&mut self, value: f64) {
        self.total += 1;
        self.sum += value;
        for (bound, count) in self.bounds.iter().zip(&mut self.counts) {
            if value <= *bound {
                *count += 1;
            }
        }
    }

    /// How many there were.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    pub(super) fn render(&self, out: &mut String, name: &str, labels: &str) {
        let comma = if labels.is_empty() { "" } else { "," };
        for (bound, count) in self.bounds.iter().zip(&self.counts) {
            let _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {count}");
        }
        let _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {}", self.total);
        let braced = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let _ = writeln!(out, "{name}_sum{braced} {}", self.sum);
        let _ = writeln!(out, "{name}_count{braced} {}", self.total);
    }
}

/// Durations by operation and resource; both come from the resource table, so that their number is bounded.
#[derive(Default)]
pub struct Timings(Mutex<BTreeMap<(&'static str, String), Histogram>>);

impl Timings {
    /// Counts one operation on a resource.
    pub fn observe(&self, operation: &'static str, resource: &str, took: Duration) {
        let mut own = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        own.entry((operation, resource.to_owned()))
            .or_insert_with(|| Histogram::new(STORE_BOUNDS))
            .observe(took.as_secs_f64());
    }

    pub(super) fn render(&self, out: &mut String, name: &str, text: &str) {
        help(out, name, "histogram", text);
        for ((operation, resource), histogram) in &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            histogram.render(out, name, &format!("operation=\"{operation}\",type=\"{resource}\""));
        }
    }
}

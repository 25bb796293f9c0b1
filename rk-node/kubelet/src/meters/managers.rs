//! What pods ask of the managers of CPUs, memory and topology, and what becomes of it.

use std::time::Duration;

use super::{Counter, Timing};
use crate::numa::Pinned;

/// Bounds for the admission of pods, milliseconds.
const ADMISSIONS: &[f64] = &[0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 102.4, 204.8, 409.6, 819.2];

/// Counters of the managers.
pub struct Managers {
    cpu_requests: Counter,
    cpu_errors: Counter,
    memory_requests: Counter,
    memory_errors: Counter,
    topology_requests: Counter,
    topology_errors: Counter,
    admissions: Timing,
}

impl Default for Managers {
    fn default() -> Self {
        Self {
            cpu_requests: Counter::new(
                "kubelet_cpu_manager_pinning_requests_total",
                "The number of cpu core allocations which required pinning.",
                &[],
            ),
            cpu_errors: Counter::new(
                "kubelet_cpu_manager_pinning_errors_total",
                "The number of cpu core allocations which required pinning failed.",
                &[],
            ),
            memory_requests: Counter::new(
                "kubelet_memory_manager_pinning_requests_total",
                "The number of memory pages allocations which required pinning.",
                &[],
            ),
            memory_errors: Counter::new(
                "kubelet_memory_manager_pinning_errors_total",
                "The number of memory pages allocations which required pinning that failed.",
                &[],
            ),
            topology_requests: Counter::new(
                "kubelet_topology_manager_admission_requests_total",
                "The number of admission requests where resources have to be aligned.",
                &[],
            ),
            topology_errors: Counter::new(
                "kubelet_topology_manager_admission_errors_total",
                "The number of admission request failures where resources could not be aligned.",
                &[],
            ),
            admissions: Timing::new(
                "kubelet_topology_manager_admission_duration_ms",
                "Duration in milliseconds to serve a pod admission request.",
                &[],
                ADMISSIONS,
            )
            .in_milliseconds(),
        }
    }
}

impl Managers {
    /// A pod was to get what it wants for itself. That it did not is told of a node that aligns pods alone, as upstream tells it.
    pub fn placed(&self, aligned: bool, good: bool, took: Duration) {
        self.topology_requests.add(&[]);
        self.admissions.observe(&[], took);
        if aligned && !good {
            self.topology_errors.add(&[]);
        }
    }

    /// So many containers of a pod were to get CPUs and memory of their own.
    pub fn pinned(&self, cpus: Pinned, memory: Pinned) {
        for (counter, times) in [
            (&self.cpu_requests, cpus.requests),
            (&self.cpu_errors, cpus.errors),
            (&self.memory_requests, memory.requests),
            (&self.memory_errors, memory.errors),
        ] {
            (0..times).for_each(|_| counter.add(&[]));
        }
    }

    /// The counters of `/metrics`.
    pub fn counters(&self) -> [&Counter; 6] {
        [
            &self.cpu_requests,
            &self.cpu_errors,
            &self.memory_requests,
            &self.memory_errors,
            &self.topology_requests,
            &self.topology_errors,
        ]
    }

    /// The timing of `/metrics`.
    pub fn timing(&self) -> &Timing {
        &self.admissions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_counted_by_what_they_asked_for_and_did_not_get() {
        let managers = Managers::default();
        managers.pinned(Pinned { requests: 3, errors: 1 }, Pinned { requests: 2, errors: 0 });
        for (aligned, good) in [(true, true), (true, false), (false, false)] {
            managers.placed(aligned, good, Duration::from_millis(1));
        }
        let told: Vec<u64> = managers.counters().iter().flat_map(|counter| counter.read().into_values()).collect();
        assert_eq!(told, [3, 1, 2, 0, 3, 1]);
        let spread = managers.timing().read().into_values().next().unwrap();
        assert_eq!((spread.count, spread.sum, spread.within[4], spread.within[5]), (3, 3.0, 0, 3));
    }
}

//! What pods ask of the managers of CPUs, memory and topology, and what becomes of it.

use std::time::Duration;

use super::{Counter, Timing};
use crate::admission::Refusal;
use crate::numa::{NOT_ALIGNED, Pinned, Scope};

/// Bounds for the admission of pods, milliseconds.
const ADMISSIONS: &[f64] = &[0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 102.4, 204.8, 409.6, 819.2];

/// Labels of what is aligned: for whom, and with what.
const ALIGNMENT: &[&str] = &["scope", "boundary"];
/// Everything for one pod is of one memory node, and for one container.
const ONE_NODE: [[&str; 2]; 2] = [["pod", "numa_node"], ["container", "numa_node"]];
/// A container has whole cores.
const WHOLE_CORES: &[&str] = &["container", "physical_cpu"];

/// Counters of the managers.
pub struct Managers {
    cpu_requests: Counter,
    cpu_errors: Counter,
    memory_requests: Counter,
    memory_errors: Counter,
    topology_requests: Counter,
    topology_errors: Counter,
    aligned: Counter,
    misaligned: Counter,
    admissions: Timing,
}

impl Default for Managers {
    fn default() -> Self {
        let aligned = Counter::new(
            "kubelet_container_aligned_compute_resources_count",
            "Cumulative number of aligned compute resources allocated to containers by alignment type.",
            ALIGNMENT,
        );
        let misaligned = Counter::new(
            "kubelet_container_aligned_compute_resources_failure_count",
            "Cumulative number of failures to allocate aligned compute resources to containers by alignment type.",
            ALIGNMENT,
        );
        for labels in ONE_NODE {
            aligned.touch(&labels);
            misaligned.touch(&labels);
        }
        Self {
            aligned,
            misaligned,
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

    /// What became of a pod with so many containers where all is given from one memory node: no other policy promises that.
    pub fn on_one_node(&self, scope: Scope, containers: usize, placed: &Result<(), Refusal>) {
        let [of_pod, of_container] = &ONE_NODE;
        let (labels, times) = match scope {
            Scope::Pod => (of_pod, 1),
            Scope::Container => (of_container, containers),
        };
        match placed {
            Ok(()) => (0..times).for_each(|_| self.aligned.add(labels)),
            Err((reason, _)) if reason == NOT_ALIGNED => self.misaligned.add(labels),
            Err(_) => {}
        }
    }

    /// So many containers were to get whole cores; the counts of that are told from the first time on.
    pub fn whole_cores(&self, cpus: Pinned) {
        self.aligned.touch(WHOLE_CORES);
        self.misaligned.touch(WHOLE_CORES);
        (cpus.errors..cpus.requests).for_each(|_| self.aligned.add(WHOLE_CORES));
        (0..cpus.errors).for_each(|_| self.misaligned.add(WHOLE_CORES));
    }

    /// The counters of `/metrics`.
    pub fn counters(&self) -> [&Counter; 8] {
        [
            &self.cpu_requests,
            &self.cpu_errors,
            &self.memory_requests,
            &self.memory_errors,
            &self.topology_requests,
            &self.topology_errors,
            &self.aligned,
            &self.misaligned,
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
        assert_eq!(told, [3, 1, 2, 0, 3, 1, 0, 0, 0, 0]);
        let spread = managers.timing().read().into_values().next().unwrap();
        assert_eq!((spread.count, spread.sum, spread.within[4], spread.within[5]), (3, 3.0, 0, 3));
    }

    #[test]
    fn what_is_aligned_is_counted_by_whom_it_is_for_and_with_what() {
        let managers = Managers::default();
        let refused = |reason: &str| Err((reason.to_owned(), String::new()));
        let told = |of_failures: bool| {
            let counts = if of_failures { managers.misaligned.read() } else { managers.aligned.read() };
            counts.into_iter().map(|(labels, count)| format!("{} {count}", labels.join(" "))).collect::<Vec<_>>()
        };
        assert_eq!(told(true), ["container numa_node 0", "pod numa_node 0"]);
        managers.whole_cores(Pinned::default());
        managers.whole_cores(Pinned { requests: 3, errors: 1 });
        managers.on_one_node(Scope::Pod, 3, &Ok(()));
        managers.on_one_node(Scope::Container, 3, &Ok(()));
        managers.on_one_node(Scope::Pod, 3, &refused(NOT_ALIGNED));
        managers.on_one_node(Scope::Container, 3, &refused("SMTAlignmentError"));
        assert_eq!(told(false), ["container numa_node 3", "container physical_cpu 2", "pod numa_node 1"]);
        assert_eq!(told(true), ["container numa_node 0", "container physical_cpu 1", "pod numa_node 1"]);
    }
}

//! Settings of how often, how long and how much at once, by upstream's names. Values only.

use std::time::Duration;

use crate::throttle::Rate;

/// See the fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// How often the node's status is compared (`nodeStatusUpdateFrequency`).
    pub status_update: Duration,
    /// How often an unchanged status is written (`nodeStatusReportFrequency`).
    pub status_report: Duration,
    /// How many images the status lists (`nodeStatusMaxImages`).
    pub status_images: usize,
    /// How many seconds the node's Lease holds; it is renewed four times in them (`nodeLeaseDurationSeconds`).
    pub lease_seconds: u32,
    /// The longest pause before a container that keeps failing is started again (`crashLoopBackOff.maxContainerRestartPeriod`).
    pub longest_restart: Duration,
    /// Pulls at the same time on one node (`maxParallelImagePulls`; one with `serializeImagePulls`).
    pub parallel_pulls: usize,
    /// How often pulls begin (`registryPullQPS`, `registryBurst`).
    pub pulls: Rate,
    /// How often events are written (`eventRecordQPS`, `eventBurst`).
    pub events: Rate,
    /// How long a stream of exec, attach or port-forward may be silent (`streamingConnectionIdleTimeout`); zero is for ever, which no document can say.
    pub stream_idle: Duration,
    /// Most pods for each CPU; 0 is no such bound (`podsPerCore`).
    pub pods_per_core: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            status_update: Duration::from_secs(10),
            status_report: Duration::from_secs(300),
            // Clusters with more would bloat every Node update.
            status_images: 50,
            lease_seconds: 40,
            longest_restart: Duration::from_secs(300),
            // More only share the same link and unpack slower.
            parallel_pulls: 4,
            pulls: Rate { per_second: 5, burst: 10 },
            events: Rate { per_second: 50, burst: 100 },
            stream_idle: Duration::from_secs(4 * 3600),
            pods_per_core: 0,
        }
    }
}

impl Pace {
    /// Most pods of a node with so many CPUs, of which it takes `max_pods` at most.
    pub fn pods(&self, max_pods: u32, cpus: usize) -> u32 {
        match self.pods_per_core {
            0 => max_pods,
            each => u32::try_from(cpus).unwrap_or(u32::MAX).saturating_mul(each).min(max_pods),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_per_core_lower_the_bound_and_never_raise_it() {
        for (each, cpus, want) in [(0, 4, 110), (10, 4, 40), (50, 4, 110), (u32::MAX, 2, 110)] {
            assert_eq!(Pace { pods_per_core: each, ..Pace::default() }.pods(110, cpus), want, "{each} {cpus}");
        }
    }
}

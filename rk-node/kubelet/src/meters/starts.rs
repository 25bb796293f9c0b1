//! How long pods take until all of their containers run.

use super::{STARTS, Timing};
use crate::pod::startup::Startup;

/// Timings of starts.
pub struct Starts {
    total: Timing,
    own: Timing,
}

impl Default for Starts {
    fn default() -> Self {
        Self {
            total: Timing::new(
                "kubelet_pod_start_total_duration_seconds",
                "Duration in seconds from the creation of a pod until all of its containers are seen to run.",
                &[],
                STARTS,
            ),
            own: Timing::new(
                "kubelet_pod_start_sli_duration_seconds",
                "Duration in seconds from the creation of a pod until all of its containers are seen to run, without pulls of images and runs of init containers.",
                &[],
                STARTS,
            ),
        }
    }
}

impl Starts {
    /// All containers of a pod run.
    pub fn started(&self, took: Startup) {
        self.total.observe(&[], took.total);
        if let Some(own) = took.own {
            self.own.observe(&[], own);
        }
    }

    /// The timings of `/metrics`.
    pub fn timings(&self) -> [&Timing; 2] {
        [&self.total, &self.own]
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_no_sli_is_a_start_all_the_same() {
        let starts = Starts::default();
        let second = Duration::from_secs(1);
        starts.started(Startup { total: 3 * second, own: Some(second) });
        starts.started(Startup { total: 5 * second, own: None });
        let told = starts.timings().map(|timing| timing.read().into_values().next().unwrap());
        assert_eq!(told.map(|spread| (spread.count, spread.sum)), [(2, 8.0), (1, 1.0)]);
    }
}

//! Resizes of pods: what was asked for, what cannot be had, and how long it took.

use std::time::Duration;

use super::{Counter, Timing};

/// Bounds for what is done for a resize, milliseconds.
const RESIZES: &[f64] = &[10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1280.0, 2560.0, 5120.0, 10240.0, 20480.0];

/// Counters of resizes.
pub struct Resizes {
    requested: Counter,
    infeasible: Counter,
    durations: Timing,
}

impl Default for Resizes {
    fn default() -> Self {
        Self {
            requested: Counter::new(
                "kubelet_container_requested_resizes_total",
                "Changes of requests and limits of containers that were asked for, by what is done to which resource.",
                &["operation", "requirement", "resource"],
            ),
            infeasible: Counter::new(
                "kubelet_pod_infeasible_resizes_total",
                "Number of infeasible resizes for pods.",
                &["reason_detail"],
            ),
            durations: Timing::new(
                "kubelet_pod_resize_duration_milliseconds",
                "Duration in milliseconds to actuate a pod resize",
                &["success"],
                RESIZES,
            )
            .in_milliseconds(),
        }
    }
}

impl Resizes {
    /// Resources of containers were asked for anew: each with what is done, to what, of which resource.
    pub fn requested(&self, changes: &[[&'static str; 3]]) {
        changes.iter().for_each(|change| self.requested.add(change));
    }

    /// The node can never give what a pod asks for, since something of this name is in the way.
    pub fn infeasible(&self, detail: &str) {
        self.infeasible.add(&[detail]);
    }

    /// A pod and its containers were to be held to what it asks for.
    pub fn done(&self, good: bool, took: Duration) {
        self.durations.observe(&[if good { "true" } else { "false" }], took);
    }

    /// The counters of `/metrics`.
    pub fn counters(&self) -> [&Counter; 2] {
        [&self.requested, &self.infeasible]
    }

    /// The timing of `/metrics`.
    pub fn timing(&self) -> &Timing {
        &self.durations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resizes_are_told_by_upstream_s_labels() {
        let resizes = Resizes::default();
        resizes.requested(&[
            ["increase", "limits", "cpu"],
            ["increase", "limits", "cpu"],
            ["add", "requests", "memory"],
        ]);
        resizes.infeasible("swap_limitation");
        resizes.done(false, Duration::from_millis(15));
        let told = |counter: &Counter| -> Vec<(String, u64)> {
            counter.read().into_iter().map(|(labels, count)| (labels.join(" "), count)).collect()
        };
        let [requested, infeasible] = resizes.counters().map(told);
        assert_eq!(requested, [("add requests memory".to_owned(), 1), ("increase limits cpu".to_owned(), 2)]);
        assert_eq!(infeasible, [("swap_limitation".to_owned(), 1)]);
        let spread = resizes.timing().read().remove(&vec!["false".to_owned()]).unwrap();
        assert_eq!((spread.sum, spread.within[0], spread.within[1]), (15.0, 0, 1));
    }
}

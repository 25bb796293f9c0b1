//! What comes to a node: pods that it does not take, sandboxes, plugins of devices.

use std::time::Duration;

use super::{Counter, MOMENTS, Timing};

/// Counters of what comes.
pub struct Entry {
    rejections: Counter,
    /// Pods that went in favour of others, by what these lacked first.
    pub preemptions: Counter,
    sandboxes: Timing,
    sandbox_errors: Counter,
    /// Device plugins that registered, by their resource.
    pub device_plugins: Counter,
}

impl Default for Entry {
    fn default() -> Self {
        const HANDLER: &[&str] = &["runtime_handler"];
        Self {
            rejections: Counter::new(
                "kubelet_admission_rejections_total",
                "Cumulative number pod admission rejections by the Kubelet.",
                &["reason"],
            ),
            preemptions: Counter::new(
                "kubelet_preemptions",
                "Cumulative number of pod preemptions by preemption resource",
                &["preemption_signal"],
            ),
            sandboxes: Timing::new(
                "kubelet_run_podsandbox_duration_seconds",
                "Duration in seconds of the run_podsandbox operations, by RuntimeClass handler.",
                HANDLER,
                MOMENTS,
            ),
            sandbox_errors: Counter::new(
                "kubelet_run_podsandbox_errors_total",
                "Cumulative number of the run_podsandbox operation errors by RuntimeClass handler.",
                HANDLER,
            ),
            device_plugins: Counter::new(
                "kubelet_device_plugin_registration_total",
                "Cumulative number of device plugin registrations, by resource name.",
                &["resource_name"],
            ),
        }
    }
}

impl Entry {
    /// A pod was refused. What plugins bring has one reason for all, as upstream tells it.
    pub fn refused(&self, reason: &str) {
        let extended = reason.starts_with("OutOf") && reason.contains('/');
        self.rejections.add(&[if extended { "OutOfExtendedResources" } else { reason }]);
    }

    /// A sandbox was to be made by this handler.
    pub fn sandbox(&self, handler: &str, took: Duration, good: bool) {
        self.sandboxes.observe(&[handler], took);
        if !good {
            self.sandbox_errors.add(&[handler]);
        }
    }

    /// The counters of `/metrics`.
    pub fn counters(&self) -> [&Counter; 4] {
        [&self.rejections, &self.preemptions, &self.sandbox_errors, &self.device_plugins]
    }

    /// The timing of `/metrics`.
    pub fn timing(&self) -> &Timing {
        &self.sandboxes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_is_counted_by_what_becomes_of_it() {
        let entry = Entry::default();
        for reason in ["OutOfcpu", "OutOfx.io/gpu", "OutOfx.io/nic", "Evicted"] {
            entry.refused(reason);
        }
        let told: Vec<(String, u64)> = entry.rejections.read().into_iter().map(|(key, n)| (key.join(""), n)).collect();
        let want = [("Evicted", 1), ("OutOfExtendedResources", 2), ("OutOfcpu", 1)];
        assert_eq!(told, want.map(|(reason, number)| (reason.to_owned(), number)));
        entry.sandbox("", Duration::from_secs(1), true);
        entry.sandbox("", Duration::from_secs(1), false);
        let key = vec![String::new()];
        assert_eq!(entry.sandboxes.read().get(&key).map(|spread| spread.count), Some(2));
        assert_eq!(entry.sandbox_errors.read().get(&key), Some(&1));
    }
}

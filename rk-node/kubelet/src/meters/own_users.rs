//! What becomes of pods with users of their own.

use super::Counter;

/// Counters of these pods.
pub struct OwnUsers {
    started: Counter,
    errors: Counter,
}

impl Default for OwnUsers {
    fn default() -> Self {
        Self {
            started: Counter::new(
                "kubelet_started_user_namespaced_pods_total",
                "Cumulative number of pods with user namespaces started",
                &[],
            ),
            errors: Counter::new(
                "kubelet_started_user_namespaced_pods_errors_total",
                "Cumulative number of errors when starting pods with user namespaces",
                &[],
            ),
        }
    }
}

impl OwnUsers {
    /// Such a pod is to start.
    pub fn starts(&self) {
        self.started.add(&[]);
    }

    /// Such a pod did not start, or a container of it.
    pub fn failed(&self) {
        self.errors.add(&[]);
    }

    /// The counters of `/metrics`.
    pub fn counters(&self) -> [&Counter; 2] {
        [&self.started, &self.errors]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_with_users_of_their_own_are_counted_and_so_is_what_fails_of_them() {
        let users = OwnUsers::default();
        users.starts();
        users.failed();
        users.failed();
        let told = users.counters().map(|counter| counter.read().into_values().sum::<u64>());
        assert_eq!(told, [1, 2]);
    }
}

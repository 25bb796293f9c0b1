//! How containers end, and what becomes of pods with users of their own.

use super::Counter;

/// Counters of both.
pub struct Lives {
    ends: Counter,
    own_users: Counter,
    own_users_errors: Counter,
}

impl Default for Lives {
    fn default() -> Self {
        Self {
            ends: Counter::new(
                "kubelet_terminated_containers_total",
                "Cumulative number of containers that ended, by exit code and reason",
                &["container_type", "exit_code", "reason"],
            ),
            own_users: Counter::new(
                "kubelet_started_user_namespaced_pods_total",
                "Cumulative number of pods with user namespaces started",
                &[],
            ),
            own_users_errors: Counter::new(
                "kubelet_started_user_namespaced_pods_errors_total",
                "Cumulative number of errors when starting pods with user namespaces",
                &[],
            ),
        }
    }
}

impl Lives {
    /// A container of this kind has ended.
    pub fn ended(&self, kind: &str, exit_code: i32, reason: &str) {
        self.ends.add(&[kind, &exit_code.to_string(), reason]);
    }

    /// A pod with users of its own is to start.
    pub fn with_users(&self) {
        self.own_users.add(&[]);
    }

    /// A pod with users of its own did not start, or a container of it.
    pub fn with_users_failed(&self) {
        self.own_users_errors.add(&[]);
    }

    /// The counters of `/metrics`.
    pub fn counters(&self) -> [&Counter; 3] {
        [&self.ends, &self.own_users, &self.own_users_errors]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_with_users_of_their_own_and_ends_are_counted() {
        let lives = Lives::default();
        lives.with_users();
        lives.ended("container", 139, "Error");
        lives.ended("container", 139, "Error");
        let told = lives.counters().map(|counter| counter.read().into_iter().next());
        let end = ["container", "139", "Error"].map(str::to_owned).to_vec();
        assert_eq!(told, [Some((end, 2)), Some((Vec::new(), 1)), Some((Vec::new(), 0))]);
    }
}

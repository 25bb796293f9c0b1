//! Counting probe results against thresholds.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::Probe;

/// Which of a container's probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProbeKind {
    /// Holds the others back until it succeeds once.
    Startup,
    /// Restarts the container when it fails.
    Liveness,
    /// Takes the pod out of Services while it fails.
    Readiness,
}

impl ProbeKind {
    /// As in event messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }

    /// Whether such an outcome is the last word about an instance of a container: it has started, or is to be ended.
    pub fn is_settled_by(self, outcome: Outcome) -> bool {
        match self {
            Self::Startup => true,
            Self::Liveness => outcome == Outcome::Failure,
            Self::Readiness => false,
        }
    }
}

/// What thresholds have made of the single results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Considered good.
    Success,
    /// Considered bad.
    Failure,
}

/// Latest outcomes by container ID and probe. A container without an entry has not been judged yet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProbeResults(HashMap<(String, ProbeKind), Outcome>);

impl ProbeResults {
    /// The outcome for a container.
    pub fn get(&self, container_id: &str, kind: ProbeKind) -> Option<Outcome> {
        self.0.get(&(container_id.to_owned(), kind)).copied()
    }

    /// Sets an outcome; true when it is news.
    pub fn set(&mut self, container_id: &str, kind: ProbeKind, outcome: Outcome) -> bool {
        self.0.insert((container_id.to_owned(), kind), outcome) != Some(outcome)
    }

    /// Forgets containers that are not in `ids`.
    pub fn retain(&mut self, ids: &[&str]) {
        self.0.retain(|(id, _), _| ids.contains(&id.as_str()));
    }
}

/// Settings of one probe, defaults filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Failures in a row that make it bad.
    pub failure: u32,
    /// Successes in a row that make it good.
    pub success: u32,
}

impl Thresholds {
    /// From a probe's spec.
    pub fn of(probe: &Probe) -> Self {
        let at_least_one =
            |v: Option<i32>, default: u32| v.and_then(|v| u32::try_from(v).ok()).filter(|v| *v > 0).unwrap_or(default);
        Self { failure: at_least_one(probe.failure_threshold, 3), success: at_least_one(probe.success_threshold, 1) }
    }
}

/// Counts results in a row.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counter {
    last: Option<bool>,
    run: u32,
}

impl Counter {
    /// Adds one result and says what it amounts to, or `None` while the threshold is not met.
    pub fn add(&mut self, good: bool, thresholds: Thresholds) -> Option<Outcome> {
        self.run = if self.last == Some(good) { self.run.saturating_add(1) } else { 1 };
        self.last = Some(good);
        let (needed, outcome) =
            if good { (thresholds.success, Outcome::Success) } else { (thresholds.failure, Outcome::Failure) };
        (self.run >= needed).then_some(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_that_has_started_or_is_to_be_ended_is_not_asked_again() {
        let settled = |kind: ProbeKind| [Outcome::Success, Outcome::Failure].map(|outcome| kind.is_settled_by(outcome));
        assert_eq!(settled(ProbeKind::Startup), [true, true]);
        assert_eq!(settled(ProbeKind::Liveness), [false, true]);
        assert_eq!(settled(ProbeKind::Readiness), [false, false]);
    }

    #[test]
    fn thresholds_count_results_in_a_row() {
        let thresholds = Thresholds { failure: 3, success: 2 };
        let mut counter = Counter::default();
        let seen: Vec<_> = [true, true, false, false, true, false, false, false, false, true, true]
            .into_iter()
            .map(|good| counter.add(good, thresholds))
            .collect();
        use Outcome::{Failure, Success};
        let want =
            [None, Some(Success), None, None, None, None, None, Some(Failure), Some(Failure), None, Some(Success)];
        assert_eq!(seen, want);
    }
}

//! What is told of attempts to schedule, under upstream's names.

use std::time::Instant;

/// Attempts from this one on are told as one.
const MANY: u32 = 15;

/// An attempt under way.
pub(crate) struct Attempt {
    /// The scheduler's name.
    pub(crate) profile: String,
    /// When it began.
    pub(crate) begun: Instant,
    /// Since when its pod could be decided, and which attempt this is.
    pub(crate) tried: Option<(Instant, u32)>,
}

impl Attempt {
    /// A node was found.
    pub(crate) fn decided(&self) {
        rk_client::observe("scheduler_scheduling_algorithm_duration_seconds", &[], self.begun.elapsed());
    }

    /// It has ended, with upstream's name of what came of it: `scheduled`, `unschedulable` or `error`.
    pub(crate) fn ended(&self, result: &'static str) {
        let labels = [("profile", self.profile.as_str()), ("result", result)];
        rk_client::count("scheduler_schedule_attempts_total", &labels);
        rk_client::observe("scheduler_scheduling_attempt_duration_seconds", &labels, self.begun.elapsed());
        let Some((since, attempts)) = self.tried.filter(|_| result == "scheduled") else { return };
        let number = number(attempts);
        let labels = [("attempts", number.as_str())];
        rk_client::observe("scheduler_pod_scheduling_sli_duration_seconds", &labels, since.elapsed());
        rk_client::sample("scheduler_pod_scheduling_attempts", &[], f64::from(attempts));
    }
}

/// A part of an attempt that began then has ended, with upstream's names of the part and of what came of it. Parts that decisions are
/// made of are not told apart: decisions know no clock.
pub(crate) fn extension_point(part: &'static str, profile: &str, status: &'static str, begun: Instant) {
    let labels = [("extension_point", part), ("profile", profile), ("status", status)];
    rk_client::observe("scheduler_framework_extension_point_duration_seconds", &labels, begun.elapsed());
}

/// So many pods are to leave for another one.
pub(crate) fn victims(count: usize) {
    rk_client::sample("scheduler_preemption_victims", &[], count as f64);
}

/// The number of attempts as it is told.
fn number(attempts: u32) -> String {
    if attempts >= MANY { format!("{MANY}+") } else { attempts.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_attempts_are_told_as_one() {
        assert_eq!([1, 14, 15, 700].map(number), ["1", "14", "15+", "15+"]);
    }

    #[test]
    fn an_attempt_is_told_by_its_result_and_a_pod_once_it_is_placed() {
        let begun = Instant::now();
        let attempt = Attempt { profile: "of-this-test".to_owned(), begun, tried: Some((begun, 3)) };
        attempt.decided();
        attempt.ended("error");
        let told = |line: &str| rk_client::render_figures().lines().any(|own| own.starts_with(line));
        assert!(told("scheduler_schedule_attempts_total{profile=\"of-this-test\",result=\"error\"} 1"));
        assert!(told("scheduler_scheduling_algorithm_duration_seconds_count "));
        assert!(!told("scheduler_pod_scheduling_sli_duration_seconds_count{attempts=\"3\"}"), "it is not placed");
        attempt.ended("scheduled");
        assert!(told("scheduler_pod_scheduling_sli_duration_seconds_count{attempts=\"3\"} 1"));
        assert!(told("scheduler_pod_scheduling_attempts_bucket{le=\"2\"} 0"));
        assert!(told("scheduler_pod_scheduling_attempts_bucket{le=\"4\"} 1"));
        extension_point("Bind", "of-this-test", "Success", begun);
        let labels = "extension_point=\"Bind\",profile=\"of-this-test\",status=\"Success\"";
        assert!(told(&format!("scheduler_framework_extension_point_duration_seconds_count{{{labels}}} 1")));
        victims(3);
        assert!(told("scheduler_preemption_victims_bucket{le=\"2\"} 0"));
        assert!(told("scheduler_preemption_victims_sum 3"));
    }
}

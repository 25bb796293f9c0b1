//! Checks of validating admission policies that did not simply pass.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::histogram::Histogram;
use super::{SERIES, escape, help};

/// Upper bounds of the time that an expression takes, in seconds; upstream's.
const BOUNDS: &[f64] = &[0.000_000_5, 0.001, 0.01, 0.1, 1.0];

/// What kept an expression from having a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CheckError {
    /// Nothing: it had one.
    None,
    /// It does not compile.
    Compile,
    /// It failed on what it was given.
    Invalid,
    /// It cost more than it may.
    Budget,
}

impl CheckError {
    /// The word of the label `error_type`.
    fn name(self) -> &'static str {
        match self {
            Self::None => "no_error",
            Self::Compile => "compile_error",
            Self::Invalid => "invalid_error",
            Self::Budget => "out_of_budget",
        }
    }
}

/// Policy, binding, error and what was done about it.
type Key = (String, String, CheckError, &'static str);

/// Checks by policy, binding, error and what was done.
#[derive(Default)]
pub struct PolicyChecks(Mutex<BTreeMap<Key, Histogram>>);

impl PolicyChecks {
    /// A check did not pass, or failed, and `action` was taken: `allow`, `deny`, `warn` or `audit`.
    pub fn observe(&self, policy: &str, binding: &str, error: CheckError, action: &'static str, took: Duration) {
        let key = (policy.to_owned(), binding.to_owned(), error, action);
        let mut own = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Names are the administrators' own; there are as many as there ever were bindings.
        if own.len() >= SERIES && !own.contains_key(&key) {
            return;
        }
        own.entry(key).or_insert_with(|| Histogram::new(BOUNDS)).observe(took.as_secs_f64());
    }

    pub(super) fn render(&self, out: &mut String) {
        let own = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let name = "apiserver_validating_admission_policy_check_total";
        help(out, name, "counter", "Checks of policies that did not pass, by what was done about it.");
        for (key, histogram) in &*own {
            let _ = writeln!(out, "{name}{{{}}} {}", labels(key), histogram.figures().total());
        }
        let name = "apiserver_validating_admission_policy_check_duration_seconds";
        help(out, name, "histogram", "Time of checks of policies that did not pass.");
        for (key, histogram) in &*own {
            histogram.render(out, name, &labels(key));
        }
    }
}

fn labels((policy, binding, error, action): &Key) -> String {
    format!(
        "enforcement_action=\"{action}\",error_type=\"{}\",policy=\"{}\",policy_binding=\"{}\"",
        error.name(),
        escape(policy),
        escape(binding)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_have_upstreams_names_and_labels() {
        let checks = PolicyChecks::default();
        checks.observe("p", "b", CheckError::None, "deny", Duration::from_millis(5));
        checks.observe("p", "b", CheckError::None, "deny", Duration::from_millis(50));
        checks.observe("p", "b", CheckError::Budget, "allow", Duration::from_millis(5));
        let mut text = String::new();
        checks.render(&mut text);
        let name = "apiserver_validating_admission_policy_check";
        let denied = "enforcement_action=\"deny\",error_type=\"no_error\",policy=\"p\",policy_binding=\"b\"";
        for line in [
            format!("{name}_total{{{denied}}} 2"),
            format!("{name}_duration_seconds_bucket{{{denied},le=\"0.01\"}} 1"),
            format!("{name}_duration_seconds_count{{{denied}}} 2"),
            format!(
                "{name}_total{{enforcement_action=\"allow\",error_type=\"out_of_budget\",policy=\"p\",policy_binding=\"b\"}} 1"
            ),
        ] {
            assert!(text.lines().any(|own| own == line), "{line}\n{text}");
        }
    }
}

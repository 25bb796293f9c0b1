//! What the Pod Security Standards said of pods, and of what makes pods.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

use super::help;

/// One judgement. Every part is one of few words: nothing of it comes from clients as they wrote it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Evaluation {
    /// Whether the standard is met.
    pub allowed: bool,
    /// What for: `enforce`, `audit` or `warn`.
    pub mode: &'static str,
    /// The standard's level.
    pub level: &'static str,
    /// The standard's version: `latest`, `future` or that of a release.
    pub version: String,
    /// What was done: `create` or `update`.
    pub operation: &'static str,
    /// To what: `pod` or `controller`.
    pub resource: &'static str,
    /// The subresource.
    pub subresource: &'static str,
}

/// What is done, and to what, that nobody is exempt from.
const EXEMPTIONS: [(&str, &str); 4] =
    [("create", "controller"), ("create", "pod"), ("update", "controller"), ("update", "pod")];

/// How often each judgement was made.
pub struct PodSecurity(Mutex<BTreeMap<Evaluation, u64>>);

impl Default for PodSecurity {
    /// The judgements that are made most often are told before they are made first, as upstream's are.
    fn default() -> Self {
        let allowed = |operation| Evaluation {
            allowed: true,
            mode: "enforce",
            level: "privileged",
            version: "latest".to_owned(),
            operation,
            resource: "pod",
            subresource: "",
        };
        Self(Mutex::new(["create", "update"].map(|operation| (allowed(operation), 0)).into()))
    }
}

impl PodSecurity {
    /// Counts a judgement.
    pub fn judged(&self, evaluation: Evaluation) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(evaluation).or_default() += 1;
    }

    pub(super) fn render(&self, out: &mut String) {
        let name = "pod_security_evaluations_total";
        help(out, name, "counter", "Judgements by the Pod Security Standards.");
        for (own, count) in &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            let decision = if own.allowed { "allow" } else { "deny" };
            let Evaluation { mode, level, version, operation, resource, subresource, .. } = own;
            let _ = writeln!(
                out,
                "{name}{{decision=\"{decision}\",mode=\"{mode}\",policy_level=\"{level}\",policy_version=\"{version}\",\
                 request_operation=\"{operation}\",resource=\"{resource}\",subresource=\"{subresource}\"}} {count}"
            );
        }
        let name = "pod_security_exemptions_total";
        help(
            out,
            name,
            "counter",
            "Pods, and what makes pods, that the Pod Security Standards do not judge by exemption.",
        );
        for (operation, resource) in EXEMPTIONS {
            let labels = format!("request_operation=\"{operation}\",resource=\"{resource}\",subresource=\"\"");
            let _ = writeln!(out, "{name}{{{labels}}} 0");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn judgements_are_counted_by_what_they_were_about() {
        let told = PodSecurity::default();
        let deny = Evaluation {
            allowed: false,
            mode: "warn",
            level: "baseline",
            version: "v1.30".to_owned(),
            operation: "create",
            resource: "controller",
            subresource: "",
        };
        told.judged(deny.clone());
        told.judged(deny.clone());
        told.judged(Evaluation { allowed: true, ..deny });
        let mut text = String::new();
        told.render(&mut text);
        let labels = "mode=\"warn\",policy_level=\"baseline\",policy_version=\"v1.30\",request_operation=\"create\",\
                      resource=\"controller\",subresource=\"\"";
        for (decision, count) in [("deny", 2), ("allow", 1)] {
            let line = format!("pod_security_evaluations_total{{decision=\"{decision}\",{labels}}} {count}");
            assert!(text.lines().any(|own| own == line), "{line}\n{text}");
        }
    }

    #[test]
    fn what_is_looked_for_is_told_before_it_happens() {
        let mut text = String::new();
        PodSecurity::default().render(&mut text);
        let labels = "request_operation=\"update\",resource=\"pod\",subresource=\"\"";
        let allowed = "decision=\"allow\",mode=\"enforce\",policy_level=\"privileged\",policy_version=\"latest\"";
        for line in [
            format!("pod_security_evaluations_total{{{allowed},{labels}}} 0"),
            format!("pod_security_exemptions_total{{{labels}}} 0"),
        ] {
            assert!(text.lines().any(|own| own == line), "{line}\n{text}");
        }
    }
}

//! What the status of a namespace says about its deletion.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::collections::BTreeMap;
use std::time::Duration;

/// Result of one attempt to empty a namespace.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) discovery_failures: Vec<String>,
    pub(super) content_failures: Vec<String>,
    /// Objects left, by resource.
    pub(super) remaining: BTreeMap<String, usize>,
    /// Finalizers on them.
    pub(super) finalizers: BTreeMap<String, usize>,
    pub(super) wait: Option<Duration>,
}

impl Progress {
    pub(super) fn is_done(&self) -> bool {
        self.discovery_failures.is_empty() && self.content_failures.is_empty() && self.remaining.is_empty()
    }

    pub(super) fn note_wait(&mut self, wait: Duration) {
        if !wait.is_zero() {
            self.wait = Some(self.wait.map_or(wait, |w| w.min(wait)));
        }
    }

    /// Type, status, reason and message of every condition.
    fn conditions(&self) -> Vec<(&'static str, bool, &'static str, String)> {
        let counts = |map: &BTreeMap<String, usize>, what: &str| {
            let parts: Vec<String> =
                map.iter().map(|(name, count)| format!("{name} {what} {count} resource instances")).collect();
            parts.join(", ")
        };
        let pick = |type_, bad: bool, bad_reason, good_reason, bad_text: String, good_text: &str| {
            (type_, bad, if bad { bad_reason } else { good_reason }, if bad { bad_text } else { good_text.to_owned() })
        };
        // Without a dot after the group, core resources read "pods." as in Kubernetes' own messages.
        let remaining: BTreeMap<String, usize> = self
            .remaining
            .iter()
            .map(|(n, c)| (if n.contains('.') { n.clone() } else { format!("{n}.") }, *c))
            .collect();
        vec![
            pick(
                "NamespaceDeletionDiscoveryFailure",
                !self.discovery_failures.is_empty(),
                "DiscoveryFailed",
                "ResourcesDiscovered",
                format!(
                    "Discovery failed for some groups, {} failing: {}",
                    self.discovery_failures.len(),
                    self.discovery_failures.join(", ")
                ),
                "All resources successfully discovered",
            ),
            pick(
                "NamespaceDeletionGroupVersionParsingFailure",
                false,
                "GroupVersionParsingFailed",
                "ParsedGroupVersions",
                String::new(),
                "All legacy kube types successfully parsed",
            ),
            pick(
                "NamespaceDeletionContentFailure",
                !self.content_failures.is_empty(),
                "ContentDeletionFailed",
                "ContentDeleted",
                format!(
                    "Failed to delete all resource types, {} remaining: {}",
                    self.content_failures.len(),
                    self.content_failures.join(", ")
                ),
                "All content successfully deleted, may be waiting on finalization",
            ),
            pick(
                "NamespaceContentRemaining",
                !self.remaining.is_empty(),
                "SomeResourcesRemain",
                "ContentRemoved",
                format!("Some resources are remaining: {}", counts(&remaining, "has")),
                "All content successfully removed",
            ),
            pick(
                "NamespaceFinalizersRemaining",
                !self.finalizers.is_empty(),
                "SomeFinalizersRemain",
                "ContentHasNoFinalizers",
                format!("Some content in the namespace has finalizers remaining: {}", counts(&self.finalizers, "in")),
                "All content-preserving finalizers finished",
            ),
        ]
    }
}

/// Writes the conditions into the object; answers whether anything changed.
pub(super) fn apply(namespace: &mut Namespace, progress: &Progress) -> bool {
    let conditions = namespace.status.get_or_insert_default().conditions.get_or_insert_default();
    let mut changed = false;
    for (type_, value, reason, message) in progress.conditions() {
        let status = if value { "True" } else { "False" };
        let current = conditions.iter().position(|c| c.type_ == type_);
        let same = |c: &NamespaceCondition| {
            c.status == status && c.reason.as_deref() == Some(reason) && c.message.as_deref() == Some(&message)
        };
        if current.and_then(|at| conditions.get(at)).is_some_and(same) {
            continue;
        }
        changed = true;
        let since =
            current.map(|at| conditions.remove(at)).filter(|c| c.status == status).and_then(|c| c.last_transition_time);
        conditions.push(NamespaceCondition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_transition_time: since.or(Some(Time(Timestamp::now()))),
        });
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remaining_content_is_named_and_counted() {
        let mut progress = Progress::default();
        progress.remaining.insert("pods".to_owned(), 2);
        progress.remaining.insert("deployments.apps".to_owned(), 1);
        progress.finalizers.insert("example.com/hold".to_owned(), 1);
        let mut namespace = Namespace::default();
        assert!(apply(&mut namespace, &progress));
        assert!(!apply(&mut namespace, &progress), "the same again is no change");
        let text = |type_: &str| {
            let all = namespace.status.iter().flat_map(|s| s.conditions.iter().flatten());
            all.filter(|c| c.type_ == type_).filter_map(|c| c.message.clone()).next().unwrap_or_default()
        };
        assert_eq!(
            text("NamespaceContentRemaining"),
            "Some resources are remaining: deployments.apps has 1 resource instances, pods. has 2 resource instances"
        );
        assert_eq!(
            text("NamespaceFinalizersRemaining"),
            "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"
        );
        assert!(apply(&mut namespace, &Progress::default()));
        assert!(Progress::default().is_done() && !progress.is_done());
    }
}

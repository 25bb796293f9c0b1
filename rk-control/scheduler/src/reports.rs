//! What the API is still to be told about pods that fit nowhere.
//!
//! The newest word of each pod waits its turn; a later attempt replaces it, and a pod that is gone or placed takes its word along.
//! So ten thousand pods that fit nowhere cost the API no more than it can spare, and none of them is forgotten.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rk_client::ObjectKey;

use crate::model::PodInfo;

/// Words a second once the burst is spent; the pace of upstream's scheduler as a client (`clientConnection.qps`).
pub(crate) const RATE: f64 = 50.0;
/// Words that go out at once after a quiet time (`clientConnection.burst`).
pub(crate) const BURST: f64 = 100.0;

/// Why a pod fits nowhere.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(crate) pod: Arc<PodInfo>,
    pub(crate) message: String,
    /// Whether it hopes for no node any more.
    pub(crate) gives_up: bool,
}

/// The reports that wait, oldest pod first.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    turns: u64,
    order: BTreeMap<u64, ObjectKey>,
    reports: HashMap<ObjectKey, (u64, Report)>,
    /// Whose word is on its way, as long as it is to be said.
    telling: Option<ObjectKey>,
}

impl Reports {
    /// Takes in the newest word of a pod; one that waits already keeps its turn.
    pub(crate) fn put(&mut self, report: Report) {
        let key = report.pod.key.clone();
        if let Some((_, waiting)) = self.reports.get_mut(&key) {
            *waiting = report;
            return;
        }
        self.turns += 1;
        self.order.insert(self.turns, key.clone());
        self.reports.insert(key, (self.turns, report));
    }

    /// Takes back what could not be told yet, behind all others; a newer word of the pod goes before it. What was forgotten meanwhile does
    /// not come back: it would take from the pod what it was promised since.
    pub(crate) fn put_back(&mut self, report: Report) {
        if self.telling.as_ref() == Some(&report.pod.key) && !self.reports.contains_key(&report.pod.key) {
            self.put(report);
        }
    }

    /// Forgets what was to be said of a pod.
    pub(crate) fn forget(&mut self, key: &ObjectKey) {
        if self.telling.as_ref() == Some(key) {
            self.telling = None;
        }
        if let Some((turn, _)) = self.reports.remove(key) {
            self.order.remove(&turn);
        }
    }

    /// Whether there is nothing to tell.
    pub(crate) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The report whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<Report> {
        let (_, key) = self.order.pop_first()?;
        let (_, report) = self.reports.remove(&key)?;
        self.telling = Some(key);
        Some(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn report(name: &str, message: &str) -> Report {
        let pod = json!({"metadata": {"namespace": "n", "name": name, "uid": name}, "spec": {"containers": []}});
        let pod = serde_json::from_value(pod).expect("a pod");
        Report {
            pod: Arc::new(PodInfo::new(&pod).expect("a pod to schedule")),
            message: message.to_owned(),
            gives_up: false,
        }
    }

    #[test]
    fn pods_are_told_of_in_turn_with_their_newest_word() {
        let mut reports = Reports::default();
        assert!(reports.is_empty());
        for (name, message) in [("a", "old"), ("b", "only"), ("c", "gone"), ("a", "new")] {
            reports.put(report(name, message));
        }
        reports.forget(&ObjectKey::new("n", "c"));
        assert!(!reports.is_empty());
        let told: Vec<_> =
            std::iter::from_fn(|| reports.pop()).map(|report| (report.pod.key.name.clone(), report.message)).collect();
        assert_eq!(told, [("a".to_owned(), "new".to_owned()), ("b".to_owned(), "only".to_owned())]);
        assert!(reports.is_empty() && reports.reports.is_empty());
    }

    #[test]
    fn what_could_not_be_told_waits_again_unless_there_is_newer_word() {
        let mut reports = Reports::default();
        let key = ObjectKey::new("n", "a");
        reports.put(report("a", "old"));
        let old = reports.pop().expect("a word");
        reports.put(report("a", "new"));
        reports.put_back(old);
        let new = reports.pop().expect("a word");
        assert_eq!(new.message, "new");
        reports.put_back(new);
        let again = reports.pop().expect("it is to be said still");
        assert_eq!(again.message, "new");
        reports.forget(&ObjectKey::new("n", "other"));
        reports.put_back(again);
        let given_up = reports.pop().expect("another's word was forgotten");
        reports.forget(&key);
        reports.put_back(given_up);
        assert!(reports.is_empty(), "nobody wants it said any more");
    }
}

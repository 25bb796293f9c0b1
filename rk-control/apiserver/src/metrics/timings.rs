//! What was done with resources: how often, and how long it took or how large it was.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use rk_api::resources::Resource;

use super::help;
use super::histogram::{Histogram, REQUEST_BOUNDS};

/// Upper bounds of the store's answers; upstream's are those of requests.
const STORE_BOUNDS: &[f64] = REQUEST_BOUNDS;

/// One deed on the resources of one plural.
struct Timing {
    deed: &'static str,
    group: Box<str>,
    histogram: Histogram,
    failed: AtomicU64,
}

/// Figures by deed and resource; the deeds are the program's and the resources come from their table, so that their number is bounded.
pub struct Timings {
    bounds: &'static [f64],
    by_plural: RwLock<HashMap<Box<str>, Vec<Timing>>>,
}

impl Default for Timings {
    /// Of the store.
    fn default() -> Self {
        Self::new(STORE_BOUNDS)
    }
}

impl Timings {
    pub(super) fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, by_plural: RwLock::default() }
    }

    /// Counts one operation on a resource, whether or not it failed.
    pub fn observe(&self, operation: &'static str, resource: &Resource, took: Duration, failed: bool) {
        self.note(operation, resource, |own| {
            own.histogram.observe(took.as_secs_f64());
            if failed {
                own.failed.fetch_add(1, Ordering::Relaxed);
            }
        });
    }

    /// Counts how large something was.
    pub(super) fn sized(&self, deed: &'static str, resource: &Resource, size: usize) {
        self.note(deed, resource, |own| own.histogram.observe(size as f64));
    }

    fn note(&self, deed: &'static str, resource: &Resource, note: impl FnOnce(&Timing)) {
        let is_it = |own: &Timing| own.deed == deed && *own.group == *resource.gvk.group;
        let known = self.by_plural.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = known.get(&*resource.plural).and_then(|all| all.iter().find(|own| is_it(own))) {
            return note(own);
        }
        drop(known);
        let mut known = self.by_plural.write().unwrap_or_else(PoisonError::into_inner);
        let all = known.entry(Box::from(&*resource.plural)).or_default();
        // Another may have come first.
        if !all.iter().any(is_it) {
            let (group, histogram) = (Box::from(&*resource.gvk.group), Histogram::new(self.bounds));
            all.push(Timing { deed, group, histogram, failed: AtomicU64::new(0) });
        }
        if let Some(own) = all.iter().find(|own| is_it(own)) {
            note(own);
        }
    }

    /// Writes a line, or some, of each series, ordered by their labels, of which `label` names the deed.
    fn each(&self, label: &str, mut write: impl FnMut(&Timing, &str)) {
        let known = self.by_plural.read().unwrap_or_else(PoisonError::into_inner);
        let mut sorted: BTreeMap<[&str; 3], &Timing> = BTreeMap::new();
        for (plural, own) in known.iter().flat_map(|(plural, all)| all.iter().map(move |own| (plural, own))) {
            sorted.insert([&*own.group, own.deed, &**plural], own);
        }
        for ([group, deed, resource], own) in sorted {
            write(own, &format!("group=\"{group}\",{label}=\"{deed}\",resource=\"{resource}\""));
        }
    }

    pub(super) fn render(&self, out: &mut String, name: &str, label: &str, text: &str) {
        help(out, name, "histogram", text);
        self.each(label, |own, labels| own.histogram.render(out, name, labels));
    }

    /// The store's figures.
    pub(super) fn render_store(&self, out: &mut String) {
        let (label, text) = ("operation", "Time of the store to answer, by operation and resource.");
        self.render(out, "etcd_request_duration_seconds", label, text);
        let name = "etcd_requests_total";
        help(out, name, "counter", "What the store was asked for, by operation and resource.");
        self.each(label, |own, labels| {
            let _ = writeln!(out, "{name}{{{labels}}} {}", own.histogram.figures().total());
        });
        let name = "etcd_request_errors_total";
        help(out, name, "counter", "What the store failed to do, by operation and resource.");
        self.each(label, |own, labels| {
            let failed = own.failed.load(Ordering::Relaxed);
            if failed > 0 {
                let _ = writeln!(out, "{name}{{{labels}}} {failed}");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_the_store_are_told_beside_what_it_was_asked_for() {
        let (timings, registry) = (Timings::default(), rk_api::resources::Registry::builtin());
        for (plural, failed) in [("pods", false), ("pods", true), ("nodes", false)] {
            timings.observe("get", registry.get("", "v1", plural).unwrap(), Duration::from_millis(30), failed);
        }
        let mut text = String::new();
        timings.render_store(&mut text);
        let lines = |begins: &str| text.lines().filter(|line| line.starts_with(begins)).collect::<Vec<_>>();
        let labels = |plural: &str| format!("{{group=\"\",operation=\"get\",resource=\"{plural}\"}}");
        let expected =
            [("nodes", 1), ("pods", 2)].map(|(own, count)| format!("etcd_requests_total{} {count}", labels(own)));
        assert_eq!(lines("etcd_requests_total"), expected);
        assert_eq!(lines("etcd_request_errors_total"), [format!("etcd_request_errors_total{} 1", labels("pods"))]);
        assert_eq!(lines("etcd_request_duration_seconds_count").len(), 2);
    }
}

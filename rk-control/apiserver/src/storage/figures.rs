//! What the caches took in and gave out, under upstream's names.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rk_store::StoreError;

use super::Storage;
use super::slot::Slot;
use crate::metrics::help;

/// Counts of one resource's cache; they outlive a cache that is loaded anew. Every event counts here: so without a lock.
#[derive(Default)]
pub struct CacheFigures {
    received: AtomicU64,
    dispatched: AtomicU64,
    initialized: AtomicU64,
    lists: AtomicU64,
    fetched: AtomicU64,
    returned: AtomicU64,
}

/// The counters by name, with what they say; whether they have a label for an index, of which there is none.
type Told = (&'static str, &'static str, bool, fn(&CacheFigures) -> &AtomicU64);

const TOLD: [Told; 7] = [
    ("apiserver_storage_events_received_total", "Changes that the store told of.", false, |own| &own.received),
    ("apiserver_watch_cache_events_received_total", "Events that came from the store.", false, |own| &own.received),
    ("apiserver_watch_cache_events_dispatched_total", "Events that watches can see.", false, |own| &own.dispatched),
    ("apiserver_watch_cache_initializations_total", "Caches that were loaded.", false, |own| &own.initialized),
    ("apiserver_cache_list_total", "Lists that caches served.", true, |own| &own.lists),
    ("apiserver_cache_list_fetched_objects_total", "Objects that lists looked at.", true, |own| &own.fetched),
    ("apiserver_cache_list_returned_objects_total", "Objects that lists answered with.", false, |own| &own.returned),
];

impl CacheFigures {
    /// A change came from the store.
    pub(super) fn received(&self) {
        self.received.fetch_add(1, Ordering::Relaxed);
    }

    /// A change became an event.
    pub(super) fn dispatched(&self) {
        self.dispatched.fetch_add(1, Ordering::Relaxed);
    }

    /// The cache is there.
    pub(super) fn initialized(&self) {
        self.initialized.fetch_add(1, Ordering::Relaxed);
    }

    /// A list was served out of so many objects.
    pub fn listed(&self, fetched: usize, returned: usize) {
        self.lists.fetch_add(1, Ordering::Relaxed);
        self.fetched.fetch_add(fetched as u64, Ordering::Relaxed);
        self.returned.fetch_add(returned as u64, Ordering::Relaxed);
    }
}

/// Whether the store failed; to find a key in another state than was expected is an answer.
pub(super) fn broke<T>(outcome: &Result<T, StoreError>) -> bool {
    matches!(outcome, Err(error) if !matches!(error, StoreError::Conflict { .. }))
}

impl Storage {
    /// Writes the figures of all caches, in Prometheus' text format.
    pub fn render(&self, out: &mut String) {
        let mut slots: Vec<Arc<Slot>> = self.all_slots();
        slots.sort_by(|a, b| place(a).cmp(&place(b)));
        for (name, text, indexed, count) in TOLD {
            help(out, name, "counter", text);
            let index = if indexed { "index=\"\"," } else { "" };
            for slot in &slots {
                let ((group, plural), count) = (place(slot), count(slot.figures()).load(Ordering::Relaxed));
                let _ = writeln!(out, "{name}{{group=\"{group}\",{index}resource=\"{plural}\"}} {count}");
            }
        }
        let name = "apiserver_watch_cache_resource_version";
        help(out, name, "gauge", "The version up to which caches are complete.");
        for (slot, cache) in slots.iter().filter_map(|slot| Some((slot, slot.loaded()?))) {
            let ((group, plural), version) = (place(slot), cache.revision().max(self.progress()));
            let _ = writeln!(out, "{name}{{group=\"{group}\",resource=\"{plural}\"}} {version}");
        }
    }
}

/// Group and plural.
fn place(slot: &Slot) -> (&str, &str) {
    let hub = slot.hub();
    (&*hub.gvk.group, &*hub.plural)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_in_another_state_is_no_failure_of_the_store() {
        let conflict = StoreError::Conflict { key: "k".to_owned(), current: None };
        let large = StoreError::TooLarge { key: "k".to_owned(), size: 2, limit: 1 };
        assert_eq!([Ok(()), Err(conflict), Err(large)].map(|outcome| broke(&outcome)), [false, false, true]);
    }

    #[test]
    fn every_counter_counts_what_it_is_called_after() {
        let figures = CacheFigures::default();
        (0..5).for_each(|_| figures.received());
        (0..4).for_each(|_| figures.dispatched());
        figures.initialized();
        figures.listed(7, 2);
        figures.listed(3, 3);
        let counts = TOLD.map(|(name, _, _, count)| (name, count(&figures).load(Ordering::Relaxed)));
        let want = [
            ("apiserver_storage_events_received_total", 5),
            ("apiserver_watch_cache_events_received_total", 5),
            ("apiserver_watch_cache_events_dispatched_total", 4),
            ("apiserver_watch_cache_initializations_total", 1),
            ("apiserver_cache_list_total", 2),
            ("apiserver_cache_list_fetched_objects_total", 10),
            ("apiserver_cache_list_returned_objects_total", 5),
        ];
        assert_eq!(counts, want);
    }
}

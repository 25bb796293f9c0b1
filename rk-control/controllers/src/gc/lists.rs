//! Which resources have told of all that they hold.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Group and plural of a resource.
pub(super) type Id = (String, String);

/// How long a resource that cannot be listed keeps the others waiting, as in upstream's collector.
const PATIENCE: Duration = Duration::from_secs(30);

/// The first lists that are still to come. Until all are in, a dependent that is not known of may be there all the same.
#[derive(Debug, Default)]
pub(super) struct FirstLists {
    /// Whether it is known which resources there are.
    begun: bool,
    /// Since when a list is waited for.
    awaited: HashMap<Id, Instant>,
}

impl FirstLists {
    /// All resources that are served by now feed the graph, or are waited for.
    pub(super) fn begin(&mut self) {
        self.begun = true;
    }

    /// A resource is going to be listed.
    pub(super) fn wait_for(&mut self, id: Id, now: Instant) {
        self.awaited.insert(id, now);
    }

    /// A resource was listed, or is none any more.
    pub(super) fn settle(&mut self, id: &Id) {
        self.awaited.remove(id);
    }

    /// Whether nothing is waited for.
    pub(super) fn are_in(&self, now: Instant) -> bool {
        self.begun && self.awaited.values().all(|since| now.duration_since(*since) >= PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_in_when_each_has_come_or_was_waited_for_long_enough() {
        let id = |plural: &str| ("example.com".to_owned(), plural.to_owned());
        let (mut lists, start) = (FirstLists::default(), Instant::now());
        assert!(!lists.are_in(start + PATIENCE), "nobody knows yet what there is");
        lists.wait_for(id("things"), start);
        lists.begin();
        assert!(!lists.are_in(start));
        lists.settle(&id("things"));
        assert!(lists.are_in(start));
        lists.wait_for(id("others"), start);
        assert!(!lists.are_in(start + PATIENCE / 2));
        assert!(lists.are_in(start + PATIENCE));
    }
}

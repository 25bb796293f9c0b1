//! Who watches what, as the writer thread knows it.

use tokio::sync::mpsc;

use crate::model::{Change, Revision};
use crate::watch::WatchItem;

/// One live watch.
#[derive(Debug)]
struct Subscriber {
    prefix: String,
    sender: mpsc::Sender<WatchItem>,
    /// The last revision that this watch was sent.
    told: Revision,
}

/// The live watches. Sending never blocks the writer: a full queue drops that watcher alone.
#[derive(Debug, Default)]
pub(super) struct Subscribers(Vec<Subscriber>);

impl Subscribers {
    pub(super) fn add(&mut self, prefix: String, start: Revision, sender: mpsc::Sender<WatchItem>) {
        self.0.push(Subscriber { prefix, sender, told: start });
    }

    /// Hands the changes of one commit, in order, to the watches whose prefix they have.
    pub(super) fn publish(&mut self, changes: &[Change]) {
        let Some(last) = changes.last().map(|change| change.entry.mod_revision) else { return };
        self.0.retain_mut(|subscriber| {
            let wanted: Vec<Change> =
                changes.iter().filter(|change| change.entry.key.starts_with(&subscriber.prefix)).cloned().collect();
            if wanted.is_empty() {
                return !subscriber.sender.is_closed();
            }
            subscriber.told = last;
            subscriber.sender.try_send(WatchItem::Changes(wanted)).is_ok()
        });
    }

    /// Tells every watch that has not heard of `revision` yet that nothing of it is missing.
    pub(super) fn progress(&mut self, revision: Revision) {
        self.0.retain_mut(|subscriber| {
            if subscriber.told >= revision {
                return !subscriber.sender.is_closed();
            }
            subscriber.told = revision;
            subscriber.sender.try_send(WatchItem::Progress(revision)).is_ok()
        });
    }
}

//! One watch: history first, then what the writer sends.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::reader::Readers;
use crate::error::Result;
use crate::model::{Change, Revision};
use crate::watch::WatchItem;

/// How many changes one step of a watch's catch-up reads from history.
const CATCH_UP_PAGE: usize = 512;

/// Reads history in `(after, start]`, then hands on what the writer sends live, which begins right after `start`. Nothing stands
/// between the writer and the watcher once history is delivered.
#[derive(Debug)]
pub(crate) struct Follower {
    past: Option<Past>,
    live: mpsc::Receiver<WatchItem>,
}

impl Follower {
    pub(super) fn new(
        readers: Arc<Readers>,
        prefix: String,
        after: Revision,
        start: Revision,
        live: mpsc::Receiver<WatchItem>,
    ) -> Self {
        Self { past: Some(Past { readers, prefix, after, start }), live }
    }

    /// The next item; `None` when the writer ended or gave this watch up. A call that is given up loses nothing.
    pub(crate) async fn next(&mut self) -> Option<Result<WatchItem>> {
        while let Some(past) = &mut self.past {
            if past.after >= past.start {
                let start = past.start;
                self.past = None;
                return Some(Ok(WatchItem::Progress(start)));
            }
            match past.page().await {
                Ok(changes) if changes.is_empty() => {}
                outcome => return Some(outcome.map(WatchItem::Changes)),
            }
        }
        self.live.recv().await.map(Ok)
    }
}

/// What is still to be read of history.
#[derive(Debug)]
struct Past {
    readers: Arc<Readers>,
    prefix: String,
    after: Revision,
    start: Revision,
}

impl Past {
    async fn page(&mut self) -> Result<Vec<Change>> {
        let changes = self.readers.history(self.prefix.clone(), self.after, self.start, CATCH_UP_PAGE).await?;
        self.after = match changes.last() {
            Some(last) if changes.len() == CATCH_UP_PAGE => last.entry.mod_revision,
            _ => self.start,
        };
        Ok(changes)
    }
}

//! The receiving side of a watch.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::encryption::Encryption;
use crate::error::{Result, StoreError};
use crate::model::{Change, Revision};
use crate::sqlite::Follower;

/// How many batches may wait for a slow watcher before it is dropped. A batch is one commit, so this bounds both memory and
/// the time a watcher may stall; a dropped watcher lists again, which is what upstream's clients do on 410.
pub(crate) const BACKLOG: usize = 1024;

/// What a watch yields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchItem {
    /// Changes of the prefix, in revision order.
    Changes(Vec<Change>),
    /// Everything up to this revision has been delivered.
    Progress(Revision),
}

/// A live subscription; dropping it ends the watch.
#[derive(Debug)]
pub struct Watch {
    source: Source,
    /// What the source's values are decrypted by.
    encryption: Option<Arc<Encryption>>,
    ended: bool,
}

/// Where a watch's items come from.
#[derive(Debug)]
enum Source {
    /// A task that reads the backend's own stream.
    Task(mpsc::Receiver<Result<WatchItem>>),
    /// The database's history, then its writer.
    Sqlite(Follower),
}

impl Watch {
    pub(crate) fn fed(receiver: mpsc::Receiver<Result<WatchItem>>) -> Self {
        Self { source: Source::Task(receiver), encryption: None, ended: false }
    }

    pub(crate) fn following(follower: Follower) -> Self {
        Self { source: Source::Sqlite(follower), encryption: None, ended: false }
    }

    /// The same watch, with plain values.
    pub(crate) fn decrypted(self, encryption: Arc<Encryption>) -> Self {
        Self { encryption: Some(encryption), ..self }
    }

    /// The next item. After an error, or when the store closed, the watch yields `None` for good. A call that is given up loses nothing.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] when history was lost before it was delivered, and [`StoreError::Closed`] once when the watcher
    /// fell too far behind or the store ended.
    pub async fn next(&mut self) -> Option<Result<WatchItem>> {
        if self.ended {
            return None;
        }
        let item = match &mut self.source {
            Source::Task(receiver) => receiver.recv().await,
            Source::Sqlite(follower) => follower.next().await,
        };
        let mut item = item.unwrap_or(Err(StoreError::Closed));
        if let (Some(encryption), Ok(WatchItem::Changes(changes))) = (&self.encryption, &mut item) {
            changes.iter_mut().for_each(|change| encryption.open_change(change));
        }
        self.ended = item.is_err();
        Some(item)
    }
}

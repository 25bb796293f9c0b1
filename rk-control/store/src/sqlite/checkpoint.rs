//! Checkpoints off the writer's thread.
//!
//! What was committed stands in the log of writes until a checkpoint brings it into the database itself. That is the work of a
//! thread with a connection of its own, which hinders neither writers nor readers. It cannot always come to the end of a log that
//! grows meanwhile, and only a log whose end was reached is begun anew: when the log has [`LOG_LIMIT`] pages, the writer does the
//! rest of the work itself.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use rusqlite::Connection;

use super::SqliteOptions;
use super::schema::{failed, open_beside};
use crate::error::{Result, StoreError};

/// After about how many pages of the log a checkpoint is asked for.
const EVERY: usize = 1000;
/// With how many pages in the log (32 MiB) the writer makes the checkpoint.
pub(super) const LOG_LIMIT: u32 = 8000;
/// How much of its length the log keeps when it begins anew, in bytes: all that it may have (a page and its head, so many times). What is
/// written over needs no new length on the disk, which each commit would wait for as well.
pub(super) const LOG_KEEPS: u32 = LOG_LIMIT * (4096 + 24);

/// The thread's handle. Dropping it waits for a checkpoint that runs, so that the writer's connection is the last to be closed.
pub(super) struct Checkpoints {
    asks: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
    /// Pages written since a checkpoint was asked for, estimated.
    pages: usize,
}

impl Checkpoints {
    /// Starts the thread.
    pub(super) fn spawn(options: &SqliteOptions) -> Result<Self> {
        let connection = open_beside(options)?;
        // One may wait while one runs.
        let (asks, asked) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("store-checkpoint".into())
            .spawn(move || serve(&connection, &asked))
            .map_err(|error| StoreError::backend("starting the checkpoints")(Box::new(error)))?;
        Ok(Self { asks: Some(asks), thread: Some(thread), pages: 0 })
    }

    /// Notes that a commit put about this many pages into the log.
    pub(super) fn wrote(&mut self, pages: usize) {
        self.pages = self.pages.saturating_add(pages);
        let asked = self.pages >= EVERY && self.asks.as_ref().is_some_and(|asks| asks.try_send(()).is_ok());
        if asked {
            self.pages = 0;
        }
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        self.asks = None;
        if let Some(thread) = self.thread.take() {
            // It panicked, and then there is nothing to wait for.
            let _ = thread.join();
        }
    }
}

fn serve(connection: &Connection, asked: &Receiver<()>) {
    while asked.recv().is_ok() {
        if let Err(error) = pass(connection) {
            tracing::warn!(%error, cause = error.source_text(), "a checkpoint failed; the next one goes on where it ended");
        }
    }
}

fn pass(connection: &Connection) -> Result<()> {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).map_err(failed("making a checkpoint"))
}

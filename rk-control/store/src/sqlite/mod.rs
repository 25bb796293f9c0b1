//! The default backend: one SQLite file in write-ahead-log mode.
//!
//! One writer thread owns every write, so revisions need no lock and changes reach watchers in commit order. It commits whatever
//! has queued up in one transaction (group commit): under load many writes share one `fsync`. Readers use connections of their own
//! and never wait for the writer; checkpoints have a thread and a connection too.

mod checkpoint;
mod compaction;
mod follow;
mod reader;
mod schema;
mod snapshot;
mod subscribers;
mod writer;

pub(crate) use follow::Follower;
pub use snapshot::{check, restore, snapshot};

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use crate::error::{Result, StoreError};
use crate::model::{Attached, Entry, Expect, ListRequest, Page, Revision, Written};
use crate::store::{Store, VALUE_LIMIT};
use crate::watch::{BACKLOG, Watch};
use checkpoint::Checkpoints;
use reader::Readers;
use writer::{Command, Write};

/// How many writes may wait for the writer; beyond it callers wait, which is the back-pressure that a full disk queue needs.
const QUEUE: usize = 1024;

/// Where and how the database is kept.
#[derive(Debug, Clone)]
pub struct SqliteOptions {
    /// The database file; its directory must exist.
    pub path: PathBuf,
    /// Whether a commit waits for the disk. Off only for tests and throw-away clusters.
    pub durable: bool,
}

impl SqliteOptions {
    /// A durable database at `path`.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), durable: true }
    }
}

/// A [`Store`] in a SQLite file; see the module's documentation.
#[derive(Debug)]
pub struct SqliteStore {
    commands: mpsc::Sender<Command>,
    readers: Arc<Readers>,
    path: PathBuf,
    /// The revision of the last commit. Whoever was told of a write reads at least its revision here.
    revision: Arc<AtomicU64>,
}

impl SqliteStore {
    /// Opens the database, makes it when absent, and starts the writer thread, which ends when the store is dropped.
    ///
    /// # Errors
    /// [`StoreError::Backend`] when the file cannot be opened, is not ours, or was written by a newer version.
    pub fn open(options: &SqliteOptions) -> Result<Self> {
        let connection = schema::open(options)?;
        let (commands, queue) = mpsc::channel(QUEUE);
        let revision = writer::spawn(connection, Checkpoints::spawn(options)?, queue)?;
        Ok(Self { commands, revision, path: options.path.clone(), readers: Arc::new(Readers::new(options.clone())) })
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)
    }
}

impl Store for SqliteStore {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>>> {
        self.readers.get(key.to_owned()).boxed()
    }

    fn list(&self, request: ListRequest) -> BoxFuture<'_, Result<Page>> {
        self.readers.list(request).boxed()
    }

    fn put_attached<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        expect: Expect,
        ttl: Option<Duration>,
        attached: Option<Attached>,
    ) -> BoxFuture<'a, Result<Written>> {
        async move {
            if value.len() > VALUE_LIMIT {
                return Err(StoreError::TooLarge { key: key.to_owned(), size: value.len(), limit: VALUE_LIMIT });
            }
            let key = Arc::from(key);
            self.ask(|reply| Command::Write(Write { key, value: Some(value), expect, ttl, attached, reply })).await?
        }
        .boxed()
    }

    fn delete<'a>(&'a self, key: &'a str, expect: Expect) -> BoxFuture<'a, Result<Written>> {
        async move {
            let key = Arc::from(key);
            self.ask(|reply| Command::Write(Write { key, value: None, expect, ttl: None, attached: None, reply }))
                .await?
        }
        .boxed()
    }

    fn watch<'a>(&'a self, prefix: &'a str, after: Revision) -> BoxFuture<'a, Result<Watch>> {
        async move {
            let (live, from_writer) = mpsc::channel(BACKLOG);
            let prefix = prefix.to_owned();
            let start = self.ask(|reply| Command::Subscribe { prefix: prefix.clone(), after, live, reply }).await??;
            Ok(Watch::following(Follower::new(Arc::clone(&self.readers), prefix, after, start, from_writer)))
        }
        .boxed()
    }

    fn revision(&self) -> BoxFuture<'_, Result<Revision>> {
        futures::future::ready(Ok(self.revision.load(Ordering::Acquire))).boxed()
    }

    fn request_progress(&self) -> BoxFuture<'_, Result<Revision>> {
        self.ask(|reply| Command::Progress { reply }).boxed()
    }

    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<()>> {
        async move { self.ask(|reply| Command::Compact { revision, reply }).await? }.boxed()
    }

    /// The database with its log of writes.
    fn size(&self) -> BoxFuture<'_, Result<u64>> {
        let length = |path: &std::path::Path| std::fs::metadata(path).map_or(0, |found| found.len());
        let mut log = self.path.clone().into_os_string();
        log.push("-wal");
        std::future::ready(Ok(length(&self.path) + length(log.as_ref()))).boxed()
    }
}

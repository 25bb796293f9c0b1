//! The writer thread: takes queued commands, commits them together, then answers and notifies.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use rusqlite::{Connection, params};
use tokio::sync::{mpsc, oneshot};

use super::checkpoint::Checkpoints;
use super::compaction::Compaction;
use super::reader::{get, meta};
use super::schema::failed;
use super::subscribers::Subscribers;
use crate::error::{Result, StoreError};
use crate::model::{Attached, Change, ChangeKind, Entry, Expect, Revision, Written};
use crate::watch::WatchItem;

/// How many writes share one transaction at most: bounds the latency that a write inherits from its neighbours.
const BATCH: usize = 256;
/// How often expired keys are looked for and idle watchers hear of progress.
const TICK: Duration = Duration::from_secs(1);
/// How many expired keys one tick removes; the rest waits for the next.
const EXPIRE_BATCH: usize = 500;
/// Pages that a commit puts into the log besides those of its writes: the counters, and inner pages.
const COMMIT_PAGES: usize = 3;
/// What a page holds, in bytes; SQLite's default.
const PAGE: usize = 4096;

/// What the writer is asked to do.
#[derive(Debug)]
pub(super) enum Command {
    Write(Write),
    Subscribe {
        prefix: String,
        after: Revision,
        live: mpsc::Sender<WatchItem>,
        reply: oneshot::Sender<Result<Revision>>,
    },
    Progress {
        reply: oneshot::Sender<Revision>,
    },
    Compact {
        revision: Revision,
        reply: oneshot::Sender<Result<()>>,
    },
}

/// One put (`value` is there) or delete (it is not).
#[derive(Debug)]
pub(super) struct Write {
    pub(super) key: Arc<str>,
    pub(super) value: Option<Bytes>,
    pub(super) expect: Expect,
    pub(super) ttl: Option<Duration>,
    pub(super) attached: Option<Attached>,
    pub(super) reply: oneshot::Sender<Result<Written>>,
}

struct Writer {
    // Before the connection, which is to be closed last.
    checkpoints: Checkpoints,
    connection: Connection,
    revision: Revision,
    /// What the store says its revision is: moved after a commit, when readers see it, and before anybody hears of the writes.
    published: Arc<AtomicU64>,
    // After the connection: when the watches end, the files are closed.
    subscribers: Subscribers,
    /// Those under way; the first one takes a step between two batches of commands.
    compactions: VecDeque<Compaction>,
}

/// Starts the thread, and returns the channel on which it publishes the committed revision. It ends when every sender of `queue` is gone.
pub(super) fn spawn(
    connection: Connection,
    checkpoints: Checkpoints,
    mut queue: mpsc::Receiver<Command>,
) -> Result<Arc<AtomicU64>> {
    let mut writer = Writer::new(connection, checkpoints)?;
    let published = Arc::clone(&writer.published);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(|error| StoreError::backend("starting the writer")(Box::new(error)))?;
    let body = move || {
        let mut batch = Vec::with_capacity(BATCH);
        let mut next_tick = Instant::now() + TICK;
        loop {
            let idle = next_tick.saturating_duration_since(Instant::now());
            let wait = if writer.compactions.is_empty() { idle } else { Duration::ZERO };
            let received =
                runtime.block_on(async { tokio::time::timeout(wait, queue.recv_many(&mut batch, BATCH)).await });
            if received == Ok(0) {
                return;
            }
            writer.run(batch.drain(..));
            if Instant::now() >= next_tick {
                writer.tick();
                next_tick = Instant::now() + TICK;
            }
            writer.compact();
        }
    };
    std::thread::Builder::new()
        .name("store-writer".into())
        .spawn(body)
        .map_err(|error| StoreError::backend("starting the writer")(Box::new(error)))?;
    Ok(published)
}

impl Writer {
    fn new(connection: Connection, checkpoints: Checkpoints) -> Result<Self> {
        let revision = meta(&connection, "revision")?;
        Ok(Self {
            checkpoints,
            connection,
            revision,
            published: Arc::new(AtomicU64::new(revision)),
            subscribers: Subscribers::default(),
            compactions: VecDeque::new(),
        })
    }

    /// Runs commands in order; consecutive writes share a transaction.
    fn run(&mut self, commands: impl Iterator<Item = Command>) {
        let mut writes = Vec::new();
        for command in commands {
            match command {
                Command::Write(write) => writes.push(write),
                control => {
                    self.commit(std::mem::take(&mut writes));
                    self.control(control);
                }
            }
        }
        self.commit(writes);
    }

    fn control(&mut self, command: Command) {
        // A reply that nobody waits for any more is no error.
        match command {
            Command::Subscribe { prefix, after, live, reply } => {
                let _ = reply.send(self.subscribe(prefix, after, live));
            }
            Command::Progress { reply } => {
                self.subscribers.progress(self.revision);
                let _ = reply.send(self.revision);
            }
            Command::Compact { revision, reply } => {
                self.compactions.extend(Compaction::begin(&self.connection, self.revision, revision, reply));
            }
            Command::Write(write) => self.commit(vec![write]),
        }
    }

    fn subscribe(&mut self, prefix: String, after: Revision, live: mpsc::Sender<WatchItem>) -> Result<Revision> {
        if after > self.revision {
            return Err(StoreError::FutureRevision { requested: after, current: self.revision });
        }
        let compacted = meta(&self.connection, "compacted")?;
        if after < compacted {
            return Err(StoreError::Compacted { requested: after, compacted });
        }
        self.subscribers.add(prefix, self.revision, live);
        Ok(self.revision)
    }

    /// Commits the writes, answers them and tells the watchers. If the transaction fails, none of them happened.
    fn commit(&mut self, writes: Vec<Write>) {
        if writes.is_empty() {
            return;
        }
        let before = self.revision;
        match self.transact(&writes) {
            Ok((outcomes, changes)) => {
                self.published.store(self.revision, Ordering::Release);
                self.subscribers.publish(&changes);
                self.checkpoints.wrote(COMMIT_PAGES + changes.iter().map(pages).sum::<usize>());
                for (write, outcome) in writes.into_iter().zip(outcomes) {
                    // A caller that stopped waiting is no error.
                    let _ = write.reply.send(outcome);
                }
            }
            Err(error) => {
                let cause = error.source_text();
                tracing::error!(%error, cause, writes = writes.len(), "a commit failed");
                // Fails when the transaction never began, and then there is nothing to roll back.
                let _ = self.connection.execute_batch("ROLLBACK");
                self.revision = before;
                for write in writes {
                    let _ = write.reply.send(Err(StoreError::backend("committing a write")(cause.clone().into())));
                }
            }
        }
    }

    /// Runs all writes in one transaction. A write whose expectation fails leaves the others alone; a database error ends all.
    fn transact(&mut self, writes: &[Write]) -> Result<(Vec<Result<Written>>, Vec<Change>)> {
        self.execute("BEGIN IMMEDIATE").map_err(failed("starting a write"))?;
        let mut changes = Vec::with_capacity(writes.len());
        let mut outcomes = Vec::with_capacity(writes.len());
        for write in writes {
            outcomes.push(match self.write(write) {
                Ok((written, change)) => {
                    changes.push(change);
                    Ok(written)
                }
                Err(conflict @ StoreError::Conflict { .. }) => Err(conflict),
                Err(fatal) => return Err(fatal),
            });
        }
        self.connection
            .prepare_cached("UPDATE meta SET value = ?1 WHERE name = 'revision'")
            .and_then(|mut statement| statement.execute([self.revision]))
            .and_then(|_| self.execute("COMMIT"))
            .map_err(failed("committing a write"))?;
        Ok((outcomes, changes))
    }

    /// Runs a statement without parameters, planned once.
    fn execute(&self, statement: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(statement)?.execute([]).map(drop)
    }

    fn write(&mut self, write: &Write) -> Result<(Written, Change)> {
        let Write { key, value, expect, ttl, .. } = write;
        if let (Expect::Absent, Some(value)) = (expect, value) {
            return self.create(write, value);
        }
        let current = get(&self.connection, key).map_err(failed("reading a key"))?;
        let met = match (expect, &current) {
            (Expect::Absent, None) => true,
            (Expect::At(revision), Some(entry)) => entry.mod_revision == *revision,
            (Expect::Any, current) => current.is_some() || value.is_some(),
            _ => false,
        };
        if !met {
            return Err(StoreError::Conflict { key: key.to_string(), current: current.map(Box::new) });
        }
        let revision = self.revision + 1;
        let create_revision = current.as_ref().map_or(revision, |entry| entry.create_revision);
        let prev_revision = current.as_ref().map_or(0, |entry| entry.mod_revision);
        let index = match (value, &current) {
            (Some(_), None) => INSERT,
            (Some(_), Some(_)) => UPDATE,
            (None, _) => DELETE,
        };
        self.index(index, key, revision)
            .and_then(|_| self.record(key, value.as_deref(), [revision, create_revision, prev_revision]))
            .and_then(|()| self.remember_expiry(key, revision, *ttl))
            .map_err(failed("writing a key"))?;
        self.revision = revision;
        let kind = match (value, &current) {
            (None, _) => ChangeKind::Deleted,
            (Some(_), None) => ChangeKind::Created,
            (Some(_), Some(_)) => ChangeKind::Updated,
        };
        let previous = current.as_ref().map(|entry| entry.value.clone());
        let value = value.clone().or_else(|| previous.clone()).unwrap_or_default();
        let entry = Entry { key: Arc::clone(key), value, create_revision, mod_revision: revision };
        Ok((
            Written { revision, create_revision, previous: current },
            Change { kind, entry, previous, attached: write.attached.clone() },
        ))
    }

    /// Writes a key that must not exist. Nothing is read for that: an insertion that inserts nothing tells that the key is there.
    fn create(&mut self, write: &Write, value: &Bytes) -> Result<(Written, Change)> {
        let key = &write.key;
        let revision = self.revision + 1;
        if self.index(INSERT, key, revision).map_err(failed("writing a key"))? == 0 {
            let current = get(&self.connection, key).map_err(failed("reading a key"))?;
            return Err(StoreError::Conflict { key: key.to_string(), current: current.map(Box::new) });
        }
        self.record(key, Some(&value[..]), [revision, revision, 0])
            .and_then(|()| self.remember_expiry(key, revision, write.ttl))
            .map_err(failed("writing a key"))?;
        self.revision = revision;
        let entry =
            Entry { key: Arc::clone(key), value: value.clone(), create_revision: revision, mod_revision: revision };
        Ok((
            Written { revision, create_revision: revision, previous: None },
            Change { kind: ChangeKind::Created, entry, previous: None, attached: write.attached.clone() },
        ))
    }

    /// Changes what names the live version of a key; answers how many rows were changed.
    fn index(&self, statement: &str, key: &str, revision: Revision) -> rusqlite::Result<usize> {
        self.connection.prepare_cached(statement)?.execute(params![key, revision])
    }

    /// Adds a version to the history; `revisions` are its own, the one that created the key, and the one that it follows.
    fn record(&self, key: &str, value: Option<&[u8]>, revisions: [Revision; 3]) -> rusqlite::Result<()> {
        let [revision, create_revision, prev_revision] = revisions;
        self.connection
            .prepare_cached("INSERT INTO log VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![revision, key, value, create_revision, prev_revision])
            .map(drop)
    }

    fn remember_expiry(&self, key: &str, revision: Revision, ttl: Option<Duration>) -> rusqlite::Result<()> {
        let Some(ttl) = ttl else { return Ok(()) };
        let at = now_ms().saturating_add(i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX));
        self.connection
            .prepare_cached("INSERT INTO expiry VALUES (?1, ?2, ?3)")?
            .execute(params![at, revision, key])
            .map(drop)
    }

    fn tick(&mut self) {
        self.subscribers.progress(self.revision);
        if let Err(error) = self.expire() {
            tracing::warn!(%error, "expired keys could not be removed; the next tick tries again");
        }
    }

    /// Deletes keys whose time has come, unless they were written again since. What is remembered of them goes after that: should the
    /// deletions fail, or the process end between the two, the next tick finds them again.
    fn expire(&mut self) -> Result<()> {
        let due: Vec<(i64, Revision, String)> = self
            .connection
            .prepare_cached("SELECT at_ms, revision, key FROM expiry WHERE at_ms <= ?1 ORDER BY at_ms LIMIT ?2")
            .and_then(|mut statement| {
                statement
                    .query_map(params![now_ms(), EXPIRE_BATCH as i64], |row| {
                        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                    })?
                    .collect()
            })
            .map_err(failed("looking for expired keys"))?;
        let Some(last) = due.last().map(|(at, _, _)| *at) else { return Ok(()) };
        let deletes = due.into_iter().map(|(_, revision, key)| {
            // Nobody waits for the answer.
            let (reply, _) = oneshot::channel();
            Write { key: key.into(), value: None, expect: Expect::At(revision), ttl: None, attached: None, reply }
        });
        self.commit(deletes.collect());
        self.connection
            .prepare_cached(FORGET)
            .and_then(|mut statement| statement.execute([last]))
            .map_err(failed("forgetting expiries"))
            .map(drop)
    }

    /// Takes a step of a compaction, if one is under way.
    fn compact(&mut self) {
        let Some(compaction) = self.compactions.pop_front() else { return };
        let (removed, unfinished) = compaction.step(&self.connection);
        self.checkpoints.wrote(removed);
        if let Some(unfinished) = unfinished {
            self.compactions.push_front(unfinished);
        }
    }
}

// What names the live version of a key. Each takes the key and the revision; an insertion leaves a key alone that lives.
const INSERT: &str = "INSERT INTO current VALUES (?1, ?2, ?2) ON CONFLICT DO NOTHING";
const UPDATE: &str = "UPDATE current SET revision = ?2 WHERE key = ?1";
const DELETE: &str = "DELETE FROM current WHERE key = ?1 AND ?2 > 0";
// Of the expiries up to a time, those of versions that no longer live.
const FORGET: &str = "DELETE FROM expiry WHERE at_ms <= ?1 AND NOT EXISTS (
    SELECT 1 FROM current live WHERE live.key = expiry.key AND live.revision = expiry.revision)";

/// About how many pages a change puts into the log: its value, and a leaf of each index.
fn pages(change: &Change) -> usize {
    2 + change.entry.value.len() / PAGE
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;

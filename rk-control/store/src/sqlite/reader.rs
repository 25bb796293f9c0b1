//! Reads, on connections of their own and off the async threads.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use tokio::sync::Semaphore;

use super::SqliteOptions;
use super::schema::{failed, open_reader};
use crate::error::{Result, StoreError};
use crate::model::{Change, ChangeKind, Entry, ListRequest, Page, Revision};

/// How many reads run at once; more would only queue on the disk and hold a page cache each.
const CONNECTIONS: usize = 4;

/// A small pool of read-only connections.
#[derive(Debug)]
pub(super) struct Readers {
    options: SqliteOptions,
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn new(options: SqliteOptions) -> Self {
        Self { options, idle: Mutex::new(Vec::new()), permits: Arc::new(Semaphore::new(CONNECTIONS)) }
    }

    pub(super) async fn get(self: &Arc<Self>, key: String) -> Result<Option<Entry>> {
        self.run(move |connection| get(connection, &key).map_err(failed("reading a key"))).await
    }

    pub(super) async fn list(self: &Arc<Self>, request: ListRequest) -> Result<Page> {
        self.run(move |connection| list(connection, &request)).await
    }

    /// Changes of `prefix` with revisions in `(after, until]`, at most `limit` of them.
    pub(super) async fn history(
        self: &Arc<Self>,
        prefix: String,
        after: Revision,
        until: Revision,
        limit: usize,
    ) -> Result<Vec<Change>> {
        self.run(move |connection| {
            let compacted = meta(connection, "compacted")?;
            if after < compacted {
                return Err(StoreError::Compacted { requested: after, compacted });
            }
            history(connection, &prefix, after, until, limit).map_err(failed("reading history"))
        })
        .await
    }

    async fn run<T, F>(self: &Arc<Self>, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let readers = Arc::clone(self);
        let work = move || {
            let pooled = readers.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let connection = match pooled {
                Some(connection) => connection,
                None => open_reader(&readers.options)?,
            };
            let outcome = snapshot(&connection, job);
            readers.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            drop(permit);
            outcome
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| StoreError::Closed)?
    }
}

/// Runs `job` inside one read transaction, so that all its queries see the same state.
fn snapshot<T>(connection: &Connection, job: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
    let transaction = connection.unchecked_transaction().map_err(failed("starting a read"))?;
    let outcome = job(&transaction)?;
    transaction.finish().map_err(failed("ending a read"))?;
    Ok(outcome)
}

/// Reads one of the store's own counters.
pub(super) fn meta(connection: &Connection, name: &str) -> Result<Revision> {
    connection
        .prepare_cached("SELECT value FROM meta WHERE name = ?1")
        .and_then(|mut statement| statement.query_row([name], |row| row.get(0)))
        .map_err(failed("reading the store's counters"))
}

/// The live entry of `key`.
pub(super) fn get(connection: &Connection, key: &str) -> rusqlite::Result<Option<Entry>> {
    connection
        .prepare_cached(
            "SELECT c.key, l.value, c.create_revision, c.revision
             FROM current c JOIN log l ON l.revision = c.revision WHERE c.key = ?1",
        )?
        .query_row([key], entry)
        .optional()
}

fn list(connection: &Connection, request: &ListRequest) -> Result<Page> {
    let now = meta(connection, "revision")?;
    let at = request.revision.unwrap_or(now);
    if at > now {
        return Err(StoreError::FutureRevision { requested: at, current: now });
    }
    let compacted = meta(connection, "compacted")?;
    if at < compacted {
        return Err(StoreError::Compacted { requested: at, compacted });
    }
    let range = Range::of(request);
    let limit = if request.limit == 0 { i64::MAX } else { i64::try_from(request.limit).unwrap_or(i64::MAX) };
    let rows = if at == now { PRESENT } else { PAST };
    let entries = collect(connection, rows, &range, at, limit).map_err(failed("listing keys"))?;
    let remaining = match entries.last() {
        Some(last) if request.limit != 0 && entries.len() == request.limit => {
            let rest = Range { low: after(&last.key), high: range.high };
            let count = if at == now { COUNT_PRESENT } else { COUNT_PAST };
            count_rows(connection, count, &rest, at).map_err(failed("counting keys"))?
        }
        _ => 0,
    };
    Ok(Page { entries, revision: at, remaining })
}

const PRESENT: &str = "SELECT c.key, l.value, c.create_revision, c.revision
    FROM current c JOIN log l ON l.revision = c.revision
    WHERE c.key >= ?1 AND c.key < ?2 AND ?3 >= 0 ORDER BY c.key LIMIT ?4";
const PAST: &str = "SELECT key, value, create_revision, revision FROM (
        SELECT key, value, create_revision, MAX(revision) AS revision FROM log
        WHERE key >= ?1 AND key < ?2 AND revision <= ?3 GROUP BY key)
    WHERE value IS NOT NULL ORDER BY key LIMIT ?4";
const COUNT_PRESENT: &str = "SELECT COUNT(*) FROM current WHERE key >= ?1 AND key < ?2 AND ?3 >= 0";
const COUNT_PAST: &str = "SELECT COUNT(*) FROM (
        SELECT value, MAX(revision) FROM log WHERE key >= ?1 AND key < ?2 AND revision <= ?3 GROUP BY key)
    WHERE value IS NOT NULL";

/// A half-open range of keys.
struct Range {
    low: String,
    high: String,
}

impl Range {
    fn of(request: &ListRequest) -> Self {
        let low = match &request.after {
            Some(key) if *key >= request.prefix => after(key),
            _ => request.prefix.clone(),
        };
        Self { low, high: prefix_end(&request.prefix) }
    }
}

/// The smallest key greater than `key`.
fn after(key: &str) -> String {
    format!("{key}\0")
}

/// The smallest string greater than every string with this prefix.
fn prefix_end(prefix: &str) -> String {
    // U+10FFFF sorts after every other character, in UTF-8 bytes too, and no key holds it.
    format!("{prefix}\u{10FFFF}")
}

fn collect(
    connection: &Connection,
    query: &str,
    range: &Range,
    at: Revision,
    limit: i64,
) -> rusqlite::Result<Vec<Entry>> {
    connection.prepare_cached(query)?.query_map(params![range.low, range.high, at, limit], entry)?.collect()
}

fn count_rows(connection: &Connection, query: &str, range: &Range, at: Revision) -> rusqlite::Result<u64> {
    connection.prepare_cached(query)?.query_row(params![range.low, range.high, at], |row| row.get(0))
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        key: row.get::<_, String>(0)?.into(),
        value: row.get::<_, Vec<u8>>(1)?.into(),
        create_revision: row.get(2)?,
        mod_revision: row.get(3)?,
    })
}

fn history(
    connection: &Connection,
    prefix: &str,
    after: Revision,
    until: Revision,
    limit: usize,
) -> rusqlite::Result<Vec<Change>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    connection
        .prepare_cached(
            "SELECT l.key, l.value, l.create_revision, l.revision, p.value
             FROM log l LEFT JOIN log p ON p.revision = l.prev_revision
             WHERE l.revision > ?1 AND l.revision <= ?2 AND l.key >= ?3 AND l.key < ?4
             ORDER BY l.revision LIMIT ?5",
        )?
        .query_map(params![after, until, prefix, prefix_end(prefix), limit], change)?
        .collect()
}

fn change(row: &Row<'_>) -> rusqlite::Result<Change> {
    let value: Option<Vec<u8>> = row.get(1)?;
    let previous: Option<Bytes> = row.get::<_, Option<Vec<u8>>>(4)?.map(Bytes::from);
    let create_revision = row.get(2)?;
    let mod_revision = row.get(3)?;
    let kind = match &value {
        None => ChangeKind::Deleted,
        Some(_) if create_revision == mod_revision => ChangeKind::Created,
        Some(_) => ChangeKind::Updated,
    };
    let value = value.map(Bytes::from).or_else(|| previous.clone()).unwrap_or_default();
    let entry = Entry { key: row.get::<_, String>(0)?.into(), value, create_revision, mod_revision };
    Ok(Change { kind, entry, previous, attached: None })
}

//! Forgetting history, a step at a time: between two steps the writer serves others.
//!
//! A version names the one that it follows. So what is to be removed is found from the versions that came since the last compaction;
//! keys that live on unchanged cost nothing.

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::reader::meta;
use super::schema::failed;
use crate::error::{Result, StoreError};
use crate::model::Revision;

/// How many revisions one step passes over. Writes wait for a step.
const STEP: Revision = 2000;

/// A compaction under way.
#[derive(Debug)]
pub(super) struct Compaction {
    revision: Revision,
    reply: oneshot::Sender<Result<()>>,
}

impl Compaction {
    /// Has nothing before `revision` read from now on; what is left is to remove it. `None` when that is refused, which `reply` tells.
    /// `now` is the revision of the store.
    pub(super) fn begin(
        connection: &Connection,
        now: Revision,
        revision: Revision,
        reply: oneshot::Sender<Result<()>>,
    ) -> Option<Self> {
        match close(connection, now, revision) {
            Ok(()) => Some(Self { revision, reply }),
            Err(error) => {
                // Who stopped waiting is told nothing.
                let _ = reply.send(Err(error));
                None
            }
        }
    }

    /// Removes some history. Answers how many versions, and the compaction if there is more to remove; else who asked for it is told.
    pub(super) fn step(self, connection: &Connection) -> (usize, Option<Self>) {
        let outcome = match sweep(connection, self.revision) {
            Ok(Some(removed)) => return (removed, Some(self)),
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        let _ = self.reply.send(outcome);
        (0, None)
    }
}

fn close(connection: &Connection, now: Revision, revision: Revision) -> Result<()> {
    if revision > now {
        return Err(StoreError::FutureRevision { requested: revision, current: now });
    }
    connection
        .execute("UPDATE meta SET value = MAX(value, ?1) WHERE name = 'compacted'", [revision])
        .map(drop)
        .map_err(failed("recording a compaction"))
}

/// Takes the next step towards a revision; answers how many versions it removed, or nothing where all is done.
fn sweep(connection: &Connection, until: Revision) -> Result<Option<usize>> {
    let swept = meta(connection, "swept")?;
    let first: Option<Revision> = connection
        .prepare_cached("SELECT MIN(revision) FROM log WHERE revision > ?1 AND revision <= ?2")
        .and_then(|mut statement| statement.query_row([swept, until], |row| row.get(0)))
        .map_err(failed("looking for history"))?;
    let Some(first) = first else { return Ok(None) };
    let last = until.min(first.saturating_add(STEP - 1));
    remove(connection, first, last).map(Some).map_err(failed("compacting history"))
}

/// Removes what the versions in a range follow, and the deletions in it, in one transaction. Ranges come in order, so that a deletion
/// hides nothing any more when it goes.
fn remove(connection: &Connection, first: Revision, last: Revision) -> rusqlite::Result<usize> {
    let transaction = connection.unchecked_transaction()?;
    let superseded = transaction.prepare_cached(SUPERSEDED)?.execute([first, last])?;
    let deletions = transaction.prepare_cached(DELETIONS)?.execute([first, last])?;
    transaction.prepare_cached("UPDATE meta SET value = ?1 WHERE name = 'swept'")?.execute([last])?;
    transaction.commit()?;
    Ok(superseded + deletions)
}

const SUPERSEDED: &str =
    "DELETE FROM log WHERE revision IN (SELECT prev_revision FROM log WHERE revision BETWEEN ?1 AND ?2)";
const DELETIONS: &str = "DELETE FROM log WHERE revision BETWEEN ?1 AND ?2 AND value IS NULL";

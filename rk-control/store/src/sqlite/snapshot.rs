//! Snapshots of the database: one file, taken while the store runs, put in place while it does not.

use rusqlite::{Connection, OpenFlags};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::schema::{failed, verify};
use crate::error::{Result, StoreError};

/// Added to the revision of a restored store: more than was written since the snapshot, so that no revision is given twice and
/// every watch from before has to list again.
const BUMP: i64 = 1_000_000_000;

/// Writes a snapshot of the database `from` to the new file `to`. Writers go on meanwhile.
///
/// # Errors
/// The database is none of ours, `to` exists, or the disk is full.
pub fn snapshot(from: &Path, to: &Path) -> Result<()> {
    let connection = open(from, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let target = to.to_str().ok_or_else(|| text("taking a snapshot", "the path is not UTF-8"))?;
    connection.execute("VACUUM INTO ?1", [target]).map_err(failed("taking a snapshot"))?;
    File::open(to).and_then(|file| file.sync_all()).map_err(|err| text("keeping a snapshot", &err.to_string()))
}

/// Checks that a file is a whole snapshot of a store.
///
/// # Errors
/// It is torn, or something else.
pub fn check(file: &Path) -> Result<()> {
    let connection = open(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let verdict: String = connection
        .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
        .map_err(failed("checking a snapshot"))?;
    if verdict == "ok" { Ok(()) } else { Err(text("checking a snapshot", &verdict)) }
}

/// Puts a snapshot in place of the database, which nobody may have open. The old one is kept as `<name>.before-restore`.
///
/// # Errors
/// The snapshot is none; then nothing changed. Or the disk is full.
pub fn restore(from: &Path, database: &Path) -> Result<()> {
    let io = |err: std::io::Error| text("restoring a snapshot", &err.to_string());
    let new = beside(database, "restoring");
    let _ = fs::remove_file(&new);
    fs::copy(from, &new).map_err(io)?;
    check(&new)?;
    bump(&new)?;
    File::open(&new).and_then(|file| file.sync_all()).map_err(io)?;
    // What the old database has in its log belongs to it alone: into it first, then away.
    if database.exists() {
        let old = open(database, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        old.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(failed("closing the old database"))?;
        drop(old);
        fs::rename(database, beside(database, "before-restore")).map_err(io)?;
    }
    for suffix in ["-wal", "-shm"] {
        let mut name = database.as_os_str().to_owned();
        name.push(suffix);
        let _ = fs::remove_file(PathBuf::from(name));
    }
    fs::rename(&new, database).map_err(io)?;
    let folder = database.parent().unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)
}

fn bump(file: &Path) -> Result<()> {
    let connection = open(file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let revision: i64 = connection
        .query_row("SELECT value FROM meta WHERE name = 'revision'", [], |row| row.get(0))
        .map_err(failed("reading a snapshot's revision"))?;
    connection
        .execute("UPDATE meta SET value = ?1 WHERE name IN ('revision', 'compacted')", [revision.saturating_add(BUMP)])
        .map_err(failed("raising a snapshot's revision"))?;
    connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .map_err(failed("raising a snapshot's revision"))
}

fn open(path: &Path, flags: OpenFlags) -> Result<Connection> {
    let connection = Connection::open_with_flags(path, flags).map_err(failed("opening a database"))?;
    connection.busy_timeout(std::time::Duration::from_secs(10)).map_err(failed("opening a database"))?;
    verify(&connection, path)?;
    Ok(connection)
}

fn beside(database: &Path, word: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(format!(".{word}"));
    PathBuf::from(name)
}

fn text(operation: &'static str, reason: &str) -> StoreError {
    StoreError::backend(operation)(reason.to_owned().into())
}

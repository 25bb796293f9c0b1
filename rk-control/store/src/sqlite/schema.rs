//! Opening the database: pragmas, tables, version check.

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::SqliteOptions;
use super::checkpoint::{LOG_KEEPS, LOG_LIMIT};
use crate::error::{Result, StoreError};

/// Marks the file as ours (`PRAGMA application_id`): the letters `rkst`.
const APPLICATION_ID: i32 = 0x726b_7374;
/// Layout version (`PRAGMA user_version`).
const LAYOUT: i32 = 1;

// `log` holds every version of every key until compaction; `current` names the live version of each key, so that reads of the
// present never walk history. Values stand once, in `log`. In `meta`, nothing before `compacted` is to be read any more, and up to `swept`
// it is removed.
const TABLES: &str = "
CREATE TABLE IF NOT EXISTS log (
    revision        INTEGER PRIMARY KEY,
    key             TEXT NOT NULL,
    value           BLOB,
    create_revision INTEGER NOT NULL,
    prev_revision   INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS log_by_key ON log (key, revision);
CREATE TABLE IF NOT EXISTS current (
    key             TEXT PRIMARY KEY,
    revision        INTEGER NOT NULL,
    create_revision INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS expiry (
    at_ms    INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    key      TEXT NOT NULL,
    PRIMARY KEY (at_ms, revision)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS meta (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;
INSERT OR IGNORE INTO meta VALUES ('revision', 1), ('compacted', 0), ('swept', 0);
";

/// The writer's page cache, in SQLite's terms: at most 4 MiB, enough for the inner pages of every index and the leaves in use.
const WRITER_CACHE: i32 = -4096;

/// Wraps a SQLite error with the operation that met it.
pub(super) fn failed(operation: &'static str) -> impl FnOnce(rusqlite::Error) -> StoreError {
    move |error| StoreError::backend(operation)(Box::new(error))
}

/// Opens the writer's connection and brings the tables to the present layout.
pub(super) fn open(options: &SqliteOptions) -> Result<Connection> {
    let connection = Connection::open(&options.path).map_err(failed("opening the database"))?;
    configure(&connection, options.durable).map_err(failed("configuring the database"))?;
    connection.pragma_update(None, "cache_size", WRITER_CACHE).map_err(failed("configuring the database"))?;
    let id: i32 = pragma(&connection, "application_id")?;
    let layout: i32 = pragma(&connection, "user_version")?;
    let fresh = id == 0 && layout == 0;
    if !fresh && (id != APPLICATION_ID || layout > LAYOUT) {
        let text =
            format!("{} is not a database of this version (id {id:#x}, layout {layout})", options.path.display());
        return Err(StoreError::backend("opening the database")(text.into()));
    }
    connection
        .execute_batch(&format!(
            "BEGIN IMMEDIATE; {TABLES} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {LAYOUT}; COMMIT;"
        ))
        .map_err(failed("creating the tables"))?;
    Ok(connection)
}

/// Whether an open file is a database of ours, of this version.
pub(super) fn verify(connection: &Connection, path: &std::path::Path) -> Result<()> {
    let id: i32 = pragma(connection, "application_id")?;
    let layout: i32 = pragma(connection, "user_version")?;
    if id == APPLICATION_ID && layout == LAYOUT {
        return Ok(());
    }
    let text = format!("{} is not a database of this version (id {id:#x}, layout {layout})", path.display());
    Err(StoreError::backend("opening the database")(text.into()))
}

/// Opens a connection that can only read.
pub(super) fn open_reader(options: &SqliteOptions) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection =
        Connection::open_with_flags(&options.path, flags).map_err(failed("opening the database for reading"))?;
    configure(&connection, options.durable).map_err(failed("configuring a reader"))?;
    Ok(connection)
}

/// Opens one more connection that can write, beside the writer's.
pub(super) fn open_beside(options: &SqliteOptions) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(&options.path, flags).map_err(failed("opening the database again"))?;
    configure(&connection, options.durable).map_err(failed("configuring the database"))?;
    Ok(connection)
}

fn configure(connection: &Connection, durable: bool) -> rusqlite::Result<()> {
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    // Without it every new value of a parameter plans its statement anew.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // 1 MiB of page cache a connection: the API server keeps the live objects itself.
    connection.execute_batch("PRAGMA cache_size = -1024; PRAGMA temp_store = MEMORY;")?;
    if connection.is_readonly(rusqlite::MAIN_DB)? {
        return Ok(());
    }
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", if durable { "FULL" } else { "OFF" })?;
    connection.pragma_update(None, "wal_autocheckpoint", LOG_LIMIT)?;
    connection.pragma_update(None, "journal_size_limit", LOG_KEEPS)
}

fn pragma(connection: &Connection, name: &str) -> Result<i32> {
    connection.pragma_query_value(None, name, |row| row.get(0)).map_err(failed("reading the database's header"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlite_comes_without_what_no_statement_uses() {
        let connection = Connection::open_in_memory().expect("a database");
        let mut statement = connection.prepare("PRAGMA compile_options").expect("a statement");
        let said: Vec<String> =
            statement.query_map([], |row| row.get(0)).expect("options").map(|row| row.expect("an option")).collect();
        for (option, there) in [
            ("OMIT_JSON", true),
            ("OMIT_LOAD_EXTENSION", true),
            ("ENABLE_LOAD_EXTENSION", false),
            ("ENABLE_STAT4", false),
            ("ENABLE_FTS5", false),
            ("ENABLE_RTREE", false),
        ] {
            assert_eq!(said.iter().any(|told| told == option), there, "{option} in {said:?}");
        }
    }
}

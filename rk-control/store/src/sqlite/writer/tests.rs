//! The writer without its thread.

use super::*;
use crate::sqlite::{SqliteOptions, schema};

type Answer = oneshot::Receiver<Result<Written>>;

fn write(key: &str, value: Option<&'static str>) -> (Write, Answer) {
    let (reply, answer) = oneshot::channel();
    let value = value.map(Bytes::from);
    (Write { key: key.into(), value, expect: Expect::Any, ttl: None, attached: None, reply }, answer)
}

fn versions(writer: &Writer) -> Vec<(String, Revision)> {
    let mut statement = writer.connection.prepare("SELECT key, revision FROM log ORDER BY revision").unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.collect::<rusqlite::Result<_>>().unwrap()
}

#[test]
fn writes_go_on_between_the_steps_of_a_compaction() {
    let dir = tempfile::tempdir().unwrap();
    let options = SqliteOptions { durable: false, ..SqliteOptions::new(dir.path().join("state.db")) };
    let mut writer = Writer::new(schema::open(&options).unwrap(), Checkpoints::spawn(&options).unwrap()).unwrap();
    let gone = [Some("1"), None, Some("2"), None].map(|value| write("/gone", value).0);
    writer.commit(gone.into());
    writer.commit((0..5000).map(|_| write("/kept", Some("x")).0).collect());
    let (last, (reply, mut compacted)) = (writer.revision, oneshot::channel());
    writer.run([Command::Compact { revision: last, reply }].into_iter());
    writer.compact();
    assert!(compacted.try_recv().is_err(), "5000 revisions are more than one step");
    assert!(versions(&writer).len() < 3100, "but some are gone");
    let (late, mut written) = write("/kept", Some("y"));
    writer.run([Command::Write(late)].into_iter());
    assert_eq!(written.try_recv().unwrap().unwrap().revision, last + 1);
    assert!(compacted.try_recv().is_err());
    while !writer.compactions.is_empty() {
        writer.compact();
    }
    compacted.try_recv().unwrap().unwrap();
    assert_eq!(versions(&writer), [("/kept".to_owned(), last), ("/kept".to_owned(), last + 1)]);
    let (reply, mut refused) = oneshot::channel();
    writer.run([Command::Compact { revision: last + 2, reply }].into_iter());
    assert!(matches!(refused.try_recv(), Ok(Err(StoreError::FutureRevision { .. }))));
}

#[test]
fn a_database_that_does_not_know_how_far_it_was_swept_is_swept_from_its_beginning() {
    let dir = tempfile::tempdir().unwrap();
    let options = SqliteOptions { durable: false, ..SqliteOptions::new(dir.path().join("state.db")) };
    let open = || Writer::new(schema::open(&options).unwrap(), Checkpoints::spawn(&options).unwrap()).unwrap();
    let mut writer = open();
    writer.commit([Some("1"), Some("2")].map(|value| write("/kept", value).0).into());
    writer.connection.execute("DELETE FROM meta WHERE name = 'swept'", []).unwrap();
    drop(writer);
    let mut writer = open();
    let (last, (reply, mut compacted)) = (writer.revision, oneshot::channel());
    writer.run([Command::Compact { revision: last, reply }].into_iter());
    while !writer.compactions.is_empty() {
        writer.compact();
    }
    compacted.try_recv().unwrap().unwrap();
    assert_eq!(versions(&writer), [("/kept".to_owned(), last)]);
}

#[test]
fn a_log_that_begins_anew_keeps_its_length() {
    let dir = tempfile::tempdir().unwrap();
    let options = SqliteOptions { durable: false, ..SqliteOptions::new(dir.path().join("state.db")) };
    let mut writer = Writer::new(schema::open(&options).unwrap(), Checkpoints::spawn(&options).unwrap()).unwrap();
    let log = || std::fs::read(dir.path().join("state.db-wal")).unwrap();
    // Who reads what was there before keeps the log from beginning anew.
    let reader = schema::open_reader(&options).unwrap();
    reader.execute_batch("BEGIN").unwrap();
    reader.query_row("SELECT value FROM meta LIMIT 1", [], |_| Ok(())).unwrap();
    for _ in 0..12 {
        let (mut large, _) = write("/key", Some(""));
        large.value = Some(vec![b'x'; 1 << 20].into());
        writer.commit(vec![large]);
    }
    drop(reader);
    let long = log();
    assert!(long.len() > 12 << 20);
    // These bytes of its head change when it begins anew.
    let salt = |log: &[u8]| log[16..24].to_vec();
    let until = Instant::now() + Duration::from_secs(60);
    while salt(&log()) == salt(&long) {
        assert!(Instant::now() < until, "the log goes on for a minute");
        writer.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).unwrap();
        writer.commit(vec![write("/key", Some("again")).0]);
    }
    assert!(log().len() >= long.len());
}

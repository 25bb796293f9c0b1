//! The SQLite backend against the suite, and what only it promises.

mod ending;

use std::sync::Arc;
use std::time::Duration;

use ending::close;
use rk_store::{Expect, ListRequest, SqliteOptions, SqliteStore, Store, suite};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passes_the_suite() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&SqliteOptions::new(dir.path().join("state.db"))).unwrap();
    suite::run(Arc::new(store)).await;
}

#[tokio::test]
async fn reopening_continues_where_the_last_commit_ended() {
    let dir = tempfile::tempdir().unwrap();
    let options = SqliteOptions::new(dir.path().join("state.db"));
    let store = SqliteStore::open(&options).unwrap();
    let written = store.put("/a", "1".into(), Expect::Absent, None).await.unwrap();
    store.delete("/a", Expect::Any).await.unwrap();
    let last = store.put("/b", "2".into(), Expect::Absent, None).await.unwrap();
    close(store).await;
    let store = SqliteStore::open(&options).unwrap();
    assert_eq!(store.revision().await.unwrap(), last.revision);
    let past = store.list(ListRequest { revision: Some(written.revision), ..Default::default() }).await.unwrap();
    assert_eq!(past.entries.len(), 1, "history survives a restart");
    let next = store.put("/c", "3".into(), Expect::Absent, None).await.unwrap();
    assert_eq!(next.revision, last.revision + 1);
}

#[tokio::test]
async fn a_foreign_file_is_refused_with_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    std::fs::write(&path, b"this is not a database, and never was one").unwrap();
    let error = SqliteStore::open(&SqliteOptions::new(&path)).unwrap_err();
    assert!(error.to_string().contains("database"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), b"this is not a database, and never was one", "and left as it was");
}

#[tokio::test]
async fn a_stalled_watcher_is_dropped_alone() {
    let dir = tempfile::tempdir().unwrap();
    let options = SqliteOptions { path: dir.path().join("state.db"), durable: false };
    let store = SqliteStore::open(&options).unwrap();
    let mut stalled = store.watch("/", 1).await.unwrap();
    for round in 0..5000 {
        store.put("/key", format!("{round}").into(), Expect::Any, None).await.unwrap();
    }
    let mut healthy = store.watch("/", store.revision().await.unwrap()).await.unwrap();
    store.put("/key", "last".into(), Expect::Any, None).await.unwrap();
    let ended = loop {
        match stalled.next().await {
            Some(Ok(_)) => {}
            Some(Err(error)) => break error,
            None => panic!("the watch must say why it ends"),
        }
    };
    assert!(matches!(ended, rk_store::StoreError::Closed), "{ended}");
    while !matches!(healthy.next().await, Some(Ok(rk_store::WatchItem::Changes(_)))) {}
}

#[tokio::test]
async fn a_watch_goes_from_history_to_what_happens_without_a_gap() {
    const PAST: u64 = 1200;
    let dir = tempfile::tempdir().unwrap();
    let options = SqliteOptions { path: dir.path().join("state.db"), durable: false };
    let store = SqliteStore::open(&options).unwrap();
    for round in 0..PAST {
        store.put("/key", format!("{round}").into(), Expect::Any, None).await.unwrap();
    }
    let mut watch = store.watch("/", 1).await.unwrap();
    for round in 0..10 {
        store.put("/key", format!("later {round}").into(), Expect::Any, None).await.unwrap();
    }
    let (mut seen, mut patience) = (Vec::new(), Duration::ZERO);
    while seen.len() < PAST as usize + 10 {
        // Given up half-way, again and again; a little later each time, since what is given up begins anew.
        patience += Duration::from_micros(50);
        let Ok(item) = tokio::time::timeout(patience, watch.next()).await else { continue };
        if let rk_store::WatchItem::Changes(changes) = item.unwrap().unwrap() {
            seen.extend(changes.into_iter().map(|change| change.entry.mod_revision));
        }
    }
    assert_eq!(seen, (2..PAST + 12).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_log_of_writes_has_a_bound_while_it_is_written() {
    const LIMIT: u64 = 40 << 20;
    let dir = tempfile::tempdir().unwrap();
    let options = SqliteOptions { path: dir.path().join("state.db"), durable: false };
    let store = SqliteStore::open(&options).unwrap();
    let length = |name: &str| std::fs::metadata(dir.path().join(name)).map_or(0, |found| found.len());
    let (mut written, mut held_up) = (0, false);
    for round in 0..4000 {
        store.put(&format!("/key/{round}"), vec![b'x'; 4096].into(), Expect::Absent, None).await.unwrap();
        written += 1;
        if length("state.db-wal") < LIMIT {
            continue;
        }
        // The writer makes no checkpoint while one runs beside it, and that one may be held up on a busy machine: once.
        assert!(!held_up, "after {round} writes");
        held_up = true;
        let until = tokio::time::Instant::now() + Duration::from_secs(60);
        while length("state.db-wal") >= LIMIT {
            assert!(tokio::time::Instant::now() < until, "after {round} writes, for a minute");
            tokio::time::sleep(Duration::from_millis(50)).await;
            store.put(&format!("/key/{round}"), "again".into(), Expect::Any, None).await.unwrap();
            written += 1;
        }
    }
    assert!(length("state.db") > 4 << 20, "checkpoints are made beside the writes");
    let taken = store.put("/key/7", "x".into(), Expect::Absent, None).await.unwrap_err();
    let rk_store::StoreError::Conflict { current: Some(current), .. } = taken else { panic!("{taken}") };
    assert_eq!((current.mod_revision, current.value.len()), (9, 4096));
    let last = store.revision().await.unwrap();
    assert_eq!(last, written + 1, "a refused write takes no revision");
    assert_eq!(store.put("/key/new", "x".into(), Expect::Absent, None).await.unwrap().revision, last + 1);
}

#[tokio::test]
async fn what_expires_while_nobody_looks_goes_when_somebody_does() {
    let dir = tempfile::tempdir().unwrap();
    let options = SqliteOptions { path: dir.path().join("state.db"), durable: false };
    let store = SqliteStore::open(&options).unwrap();
    let soon = Some(Duration::from_millis(1));
    for round in 0..700 {
        store.put(&format!("/short/{round}"), "1".into(), Expect::Absent, soon).await.unwrap();
    }
    store.put("/short/7", "2".into(), Expect::Any, None).await.unwrap();
    // Its writer may be about to remove some, and no two writers go together.
    close(store).await;
    let store = SqliteStore::open(&options).unwrap();
    let left = async || store.list(ListRequest::default()).await.unwrap().entries;
    let until = tokio::time::Instant::now() + Duration::from_secs(60);
    while left().await.len() > 1 {
        assert!(tokio::time::Instant::now() < until);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(&*left().await[0].key, "/short/7", "written again, without an end");
}

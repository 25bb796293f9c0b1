//! What every backend must do; run against a store that starts empty.
//!
//! Each check uses a prefix of its own, so one store serves them all. Panics name what went wrong.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::error::StoreError;
use crate::model::{Change, ChangeKind, Expect, ListRequest, Revision};
use crate::store::{Store, VALUE_LIMIT};
use crate::watch::{Watch, WatchItem};

/// How long a check waits for something that must happen.
const DEADLINE: Duration = Duration::from_secs(60);
/// How long keys live that are to expire: longer than it takes to write one, as a rule on a machine that stalls as well.
const TTL: Option<Duration> = Some(Duration::from_secs(3));

/// Runs every check.
///
/// # Panics
/// When the store breaks the contract.
pub async fn run(store: Arc<dyn Store>) {
    creates_reads_updates_and_deletes(&*store).await;
    refuses_writes_whose_expectation_fails(&*store).await;
    pages_through_one_snapshot(&*store).await;
    watches_history_then_live_changes(&*store).await;
    tells_progress_when_asked(&*store).await;
    expires_keys(&*store).await;
    serialises_concurrent_writers(&store).await;
    compacts(&*store).await;
    assert!(store.size().await.expect("size") > 0);
}

async fn creates_reads_updates_and_deletes(store: &dyn Store) {
    let made = store.put("/crud/a", "1".into(), Expect::Absent, None).await.expect("create");
    assert_eq!(made.create_revision, made.revision);
    assert_eq!(made.previous, None);
    let changed = store.put("/crud/a", "2".into(), Expect::At(made.revision), None).await.expect("update");
    assert!(changed.revision > made.revision);
    assert_eq!(changed.create_revision, made.revision);
    let read = store.get("/crud/a").await.expect("get").expect("the key lives");
    assert_eq!((&read.value[..], read.mod_revision), (&b"2"[..], changed.revision));
    assert_eq!(read.create_revision, made.revision);
    let gone = store.delete("/crud/a", Expect::At(changed.revision)).await.expect("delete");
    assert!(gone.revision > changed.revision);
    assert_eq!(gone.previous.map(|entry| entry.value), Some(Bytes::from("2")));
    assert_eq!(store.get("/crud/a").await.expect("get"), None);
    assert_eq!(store.revision().await.expect("revision"), gone.revision);
}

async fn refuses_writes_whose_expectation_fails(store: &dyn Store) {
    let made = store.put("/cas/a", "1".into(), Expect::Absent, None).await.expect("create");
    let cases = [
        store.put("/cas/a", "2".into(), Expect::Absent, None).await,
        store.put("/cas/a", "2".into(), Expect::At(made.revision + 1), None).await,
        store.delete("/cas/a", Expect::At(made.revision + 1)).await,
    ];
    for outcome in cases {
        match outcome {
            Err(StoreError::Conflict { current: Some(current), .. }) => assert_eq!(&current.value[..], b"1"),
            other => panic!("expected a conflict that brings the entry, got {other:?}"),
        }
    }
    for outcome in
        [store.delete("/cas/none", Expect::Any).await, store.put("/cas/none", "1".into(), Expect::At(1), None).await]
    {
        assert!(matches!(outcome, Err(StoreError::Conflict { current: None, .. })), "got {outcome:?}");
    }
    let large = store.put("/cas/large", vec![0; VALUE_LIMIT + 1].into(), Expect::Any, None).await;
    assert!(matches!(large, Err(StoreError::TooLarge { .. })), "got {large:?}");
    // Where a backend adds to a value it is told as what it is.
    let full = store.put("/cas/full", vec![0; VALUE_LIMIT].into(), Expect::Any, None).await.map(drop);
    assert!(matches!(full, Ok(()) | Err(StoreError::TooLarge { .. })), "got {full:?}");
}

async fn pages_through_one_snapshot(store: &dyn Store) {
    for name in ["a", "b", "c", "d", "e"] {
        store.put(&format!("/page/{name}"), name.into(), Expect::Any, None).await.expect("put");
    }
    store.put("/pagf", "outside".into(), Expect::Any, None).await.expect("put");
    let list = |after: Option<String>, limit, revision| {
        store.list(ListRequest { prefix: "/page/".into(), after, limit, revision })
    };
    let first = list(None, 2, None).await.expect("first page");
    assert_eq!(keys(&first.entries), ["/page/a", "/page/b"]);
    assert_eq!(first.remaining, 3);
    // Writes between the pages must not show.
    store.delete("/page/d", Expect::Any).await.expect("delete");
    store.put("/page/c", "changed".into(), Expect::Any, None).await.expect("put");
    store.put("/page/cc", "new".into(), Expect::Any, None).await.expect("put");
    let second = list(Some("/page/b".into()), 2, Some(first.revision)).await.expect("second page");
    assert_eq!(keys(&second.entries), ["/page/c", "/page/d"]);
    assert_eq!(&second.entries[0].value[..], b"c");
    assert_eq!((second.remaining, second.revision), (1, first.revision));
    let third = list(Some("/page/d".into()), 2, Some(first.revision)).await.expect("third page");
    assert_eq!((keys(&third.entries), third.remaining), (vec!["/page/e"], 0));
    let now = list(None, 0, None).await.expect("whole list");
    assert_eq!(keys(&now.entries), ["/page/a", "/page/b", "/page/c", "/page/cc", "/page/e"]);
    let future = list(None, 0, Some(now.revision + 1000)).await;
    assert!(matches!(future, Err(StoreError::FutureRevision { .. })), "got {future:?}");
}

async fn watches_history_then_live_changes(store: &dyn Store) {
    let start = store.revision().await.expect("revision");
    let made = store.put("/watch/a", "1".into(), Expect::Absent, None).await.expect("put");
    store.put("/watch/a", "2".into(), Expect::Any, None).await.expect("put");
    store.put("/elsewhere", "x".into(), Expect::Any, None).await.expect("put");
    let mut watch = store.watch("/watch/", start).await.expect("watch");
    let mut later = store.watch("/watch/", made.revision).await.expect("watch");
    let gone = store.delete("/watch/a", Expect::Any).await.expect("delete");
    let seen = take(&mut watch, 3).await;
    let kinds: Vec<_> = seen.iter().map(|change| change.kind).collect();
    assert_eq!(kinds, [ChangeKind::Created, ChangeKind::Updated, ChangeKind::Deleted]);
    assert_eq!(seen[1].previous, Some(Bytes::from("1")));
    assert_eq!((&seen[2].entry.value[..], seen[2].entry.mod_revision), (&b"2"[..], gone.revision));
    let kinds: Vec<_> = take(&mut later, 2).await.iter().map(|change| change.kind).collect();
    assert_eq!(kinds, [ChangeKind::Updated, ChangeKind::Deleted]);
}

async fn tells_progress_when_asked(store: &dyn Store) {
    let mut watch = store.watch("/progress/", store.revision().await.expect("revision")).await.expect("watch");
    store.put("/elsewhere", "y".into(), Expect::Any, None).await.expect("put");
    let wanted = store.request_progress().await.expect("request");
    loop {
        match next(&mut watch).await {
            WatchItem::Progress(revision) if revision >= wanted => return,
            WatchItem::Progress(_) => {}
            WatchItem::Changes(changes) => panic!("nothing was written under the prefix, got {changes:?}"),
        }
    }
}

async fn expires_keys(store: &dyn Store) {
    let start = keeps_what_was_to_expire(store).await;
    store.put("/ttl/gone", "1".into(), Expect::Any, TTL).await.expect("put");
    let mut watch = store.watch("/ttl/", start).await.expect("watch");
    let last = take(&mut watch, 4).await.pop().expect("four changes");
    assert_eq!((last.kind, &*last.entry.key), (ChangeKind::Deleted, "/ttl/gone"));
    assert!(store.get("/ttl/kept").await.expect("get").is_some(), "a later write without a TTL keeps the key");
}

/// Writes a key that is to expire, and again without an end while it is there; tells the revision before both.
async fn keeps_what_was_to_expire(store: &dyn Store) -> Revision {
    for _ in 0..20 {
        let start = store.revision().await.expect("revision");
        store.put("/ttl/kept", "1".into(), Expect::Any, TTL).await.expect("put");
        let again = store.put("/ttl/kept", "2".into(), Expect::Any, None).await.expect("put");
        // Where it had expired already, nothing was kept.
        if again.previous.is_some() {
            return start;
        }
    }
    panic!("the key is never there when it is written again")
}

async fn serialises_concurrent_writers(store: &Arc<dyn Store>) {
    const WRITERS: usize = 8;
    const STEPS: usize = 25;
    store.put("/count", "0".into(), Expect::Any, None).await.expect("put");
    let tasks: Vec<_> = (0..WRITERS)
        .map(|_| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                for _ in 0..STEPS {
                    increment(&*store).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("writer");
    }
    let value = store.get("/count").await.expect("get").expect("counter").value;
    assert_eq!(number(&value), WRITERS * STEPS, "no increment may be lost");
}

async fn increment(store: &dyn Store) {
    loop {
        let entry = store.get("/count").await.expect("get").expect("counter");
        let next = (number(&entry.value) + 1).to_string();
        match store.put("/count", next.into(), Expect::At(entry.mod_revision), None).await {
            Ok(_) => return,
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => panic!("increment: {error}"),
        }
    }
}

async fn compacts(store: &dyn Store) {
    let old = store.put("/compact/a", "1".into(), Expect::Any, None).await.expect("put").revision;
    store.put("/compact/b", "1".into(), Expect::Any, None).await.expect("put");
    store.delete("/compact/b", Expect::Any).await.expect("delete");
    let new = store.put("/compact/a", "2".into(), Expect::Any, None).await.expect("put").revision;
    store.compact(new).await.expect("compact");
    let at = |revision| store.list(ListRequest { prefix: "/compact/".into(), revision, ..Default::default() });
    let past = at(Some(old)).await;
    assert!(matches!(past, Err(StoreError::Compacted { .. })), "got {past:?}");
    for revision in [None, Some(new)] {
        assert_eq!(keys(&at(revision).await.expect("list").entries), ["/compact/a"]);
    }
    let watched = match store.watch("/compact/", old).await {
        Ok(mut watch) => first_error(&mut watch).await,
        Err(error) => error,
    };
    assert!(matches!(watched, StoreError::Compacted { .. }), "got {watched:?}");
}

async fn first_error(watch: &mut Watch) -> StoreError {
    loop {
        match tokio::time::timeout(DEADLINE, watch.next()).await.expect("the watch must end in time") {
            Some(Ok(_)) => {}
            Some(Err(error)) => return error,
            None => panic!("the watch ended without an error"),
        }
    }
}

async fn next(watch: &mut Watch) -> WatchItem {
    let item = tokio::time::timeout(DEADLINE, watch.next()).await.expect("the watch must yield in time");
    item.expect("the watch is open").expect("no error")
}

async fn take(watch: &mut Watch, count: usize) -> Vec<Change> {
    let mut seen = Vec::new();
    while seen.len() < count {
        if let WatchItem::Changes(changes) = next(watch).await {
            seen.extend(changes);
        }
    }
    assert_eq!(seen.len(), count, "more changes than were made: {seen:?}");
    assert!(in_order(&seen), "changes out of order: {seen:?}");
    seen
}

fn in_order(changes: &[Change]) -> bool {
    let revisions: Vec<Revision> = changes.iter().map(|change| change.entry.mod_revision).collect();
    revisions.is_sorted()
}

fn keys(entries: &[crate::Entry]) -> Vec<&str> {
    entries.iter().map(|entry| &*entry.key).collect()
}

fn number(value: &[u8]) -> usize {
    std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).expect("a number")
}

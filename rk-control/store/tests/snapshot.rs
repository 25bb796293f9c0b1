//! Snapshots of the SQLite backend: taken while it runs, restored while it does not.

mod ending;

use ending::close;
use rk_store::{
    Expect, ListRequest, SqliteOptions, SqliteStore, Store, StoreError, check_snapshot, restore_snapshot, take_snapshot,
};

#[tokio::test]
async fn a_restored_store_has_what_was_there_and_sends_every_watch_to_list_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (path, file) = (dir.path().join("state.db"), dir.path().join("snapshot"));
    let options = SqliteOptions::new(&path);
    let store = SqliteStore::open(&options).unwrap();
    store.put("/a", "1".into(), Expect::Absent, None).await.unwrap();
    take_snapshot(&path, &file).unwrap();
    check_snapshot(&file).unwrap();
    let later = store.put("/b", "2".into(), Expect::Absent, None).await.unwrap();
    // Whoever closes the old database after that takes the log of the new one away.
    close(store).await;
    restore_snapshot(&file, &path).unwrap();
    let store = SqliteStore::open(&options).unwrap();
    let keys: Vec<_> =
        store.list(ListRequest::default()).await.unwrap().entries.into_iter().map(|e| e.key.to_string()).collect();
    assert_eq!(keys, ["/a"]);
    assert!(store.revision().await.unwrap() > later.revision, "no revision is given twice");
    let old = store.watch("/", later.revision).await;
    let told = match old {
        Err(error) => error,
        Ok(mut watch) => watch.next().await.unwrap().expect_err("an error"),
    };
    assert!(matches!(told, StoreError::Compacted { .. }), "{told}");
    let next = store.put("/c", "3".into(), Expect::Absent, None).await.unwrap();
    assert_eq!(store.get("/c").await.unwrap().unwrap().value, "3");
    assert!(next.revision > later.revision);
    assert!(dir.path().join("state.db.before-restore").exists());
}

#[tokio::test]
async fn what_is_no_snapshot_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (path, file) = (dir.path().join("state.db"), dir.path().join("noise"));
    let options = SqliteOptions::new(&path);
    let store = SqliteStore::open(&options).unwrap();
    store.put("/a", "1".into(), Expect::Absent, None).await.unwrap();
    close(store).await;
    for noise in
        [b"".to_vec(), b"no database at all, and never was".to_vec(), std::fs::read(&path).unwrap()[..512].to_vec()]
    {
        std::fs::write(&file, noise).unwrap();
        assert!(check_snapshot(&file).is_err());
        assert!(restore_snapshot(&file, &path).is_err());
    }
    let store = SqliteStore::open(&options).unwrap();
    assert!(store.get("/a").await.unwrap().is_some());
}

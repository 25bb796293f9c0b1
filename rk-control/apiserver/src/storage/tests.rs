//! Reads of the caches against writes of this server.

use rk_api::resources::Registry;
use rk_store::{Change, ChangeKind, Entry, SqliteOptions, SqliteStore};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::*;

#[tokio::test]
async fn what_is_at_hand_has_this_servers_own_writes_or_is_not_told() {
    let dir = tempfile::tempdir().unwrap();
    let options = SqliteOptions { durable: false, ..SqliteOptions::new(dir.path().join("state.db")) };
    let storage = Arc::new(Storage::new(Arc::new(SqliteStore::open(&options).unwrap())));
    let registry = Registry::builtin();
    let maps = registry.get("", "v1", "configmaps").unwrap();
    let object = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "x", "namespace": "n"}});
    storage.put(maps, object.clone(), Expect::Absent).await.unwrap();
    assert!(storage.at_hand(maps, "n", "x").await.is_none(), "nothing is loaded for a change");
    storage.cache(maps).await.unwrap();
    let found = storage.at_hand(maps, "n", "x").await.unwrap();
    assert_eq!(storage.read(maps, "n", "x").await.unwrap(), Some((found.value(), found.revision)));
    storage.put(maps, object, Expect::At(found.revision)).await.unwrap();
    assert!(storage.at_hand(maps, "n", "x").await.is_none(), "the cache has not seen that write");
    let stop = CancellationToken::new();
    let dispatcher = tokio::spawn(run_dispatcher(Arc::clone(&storage), found.revision, stop.clone()));
    storage.settled_in(maps).await.unwrap();
    assert_eq!(storage.at_hand(maps, "n", "x").await.unwrap().revision, found.revision + 1);
    assert!(storage.at_hand(maps, "n", "y").await.is_none());
    stop.cancel();
    dispatcher.await.unwrap();
}

#[tokio::test]
async fn what_was_deleted_is_gone_though_its_last_value_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let options = SqliteOptions { durable: false, ..SqliteOptions::new(dir.path().join("state.db")) };
    let storage = Storage::new(Arc::new(SqliteStore::open(&options).unwrap()));
    let registry = Registry::builtin();
    let secrets = registry.get("", "v1", "secrets").unwrap();
    let object = json!({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "x", "namespace": "n"}});
    storage.put(secrets, object, Expect::Absent).await.unwrap();
    let cache = storage.cache(secrets).await.unwrap();
    let made = cache.get("n", "x").unwrap().revision;
    let change = |kind: ChangeKind| {
        let key = object_key(secrets, "n", "x").into();
        let entry = Entry { key, value: "k8s:enc:x".into(), create_revision: made, mod_revision: made + 1 };
        Change { kind, entry, previous: None, attached: None }
    };
    cache.apply(&change(ChangeKind::Updated));
    assert_eq!(cache.get("n", "x").map(|object| object.revision), Some(made), "what it became is not known");
    cache.apply(&change(ChangeKind::Deleted));
    assert!(cache.get("n", "x").is_none());
    let Events::One(event) = cache.events_after(made, 10) else { panic!("one event") };
    assert_eq!((event.kind, event.object.revision), (EventKind::Deleted, made + 1));
}

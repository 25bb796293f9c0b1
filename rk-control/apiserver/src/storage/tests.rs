//! Reads of the caches against writes of this server.

use rk_api::resources::Registry;
use rk_store::{Change, ChangeKind, Entry, SqliteOptions, SqliteStore, VALUE_LIMIT};
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
    storage.settled_cache(maps).await.unwrap();
    assert_eq!(storage.at_hand(maps, "n", "x").await.unwrap().revision, found.revision + 1);
    assert!(storage.at_hand(maps, "n", "y").await.is_none());
    stop.cancel();
    dispatcher.await.unwrap();
}

#[tokio::test]
async fn what_fits_keeps_its_owners_to_the_last_byte() {
    let dir = tempfile::tempdir().unwrap();
    let options = SqliteOptions { durable: false, ..SqliteOptions::new(dir.path().join("state.db")) };
    let storage = Storage::new(Arc::new(SqliteStore::open(&options).unwrap()));
    let registry = Registry::builtin();
    let maps = registry.get("", "v1", "configmaps").unwrap();
    let of = |size: usize| {
        let metadata = json!({"name": "x", "namespace": "n", "managedFields": [{"manager": "m"}]});
        let mut object = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": {"a": ""}});
        let room = size - Prepared::new(maps, &object).0.len();
        object["data"]["a"] = json!("x".repeat(room));
        object
    };
    for (size, sheds, owned) in [
        (VALUE_LIMIT, true, Some(true)),
        (VALUE_LIMIT + 1, true, Some(false)),
        (VALUE_LIMIT + 1, false, None),
        (VALUE_LIMIT + 4096, true, None),
    ] {
        let stored = storage.put_told(maps, of(size), Expect::Any, sheds).await.ok();
        let told = stored.map(|stored| stored.object["metadata"].get("managedFields").is_some());
        assert_eq!(told, owned, "{size} {sheds}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dispatcher_that_wakes_as_late_as_those_who_wait_for_it_has_its_turn() {
    let dir = tempfile::tempdir().unwrap();
    let options = SqliteOptions { durable: false, ..SqliteOptions::new(dir.path().join("state.db")) };
    let storage = Arc::new(Storage::new(Arc::new(SqliteStore::open(&options).unwrap())));
    let dispatcher = Arc::clone(&storage);
    tokio::spawn(async move {
        tokio::time::sleep(FRESH_TIMEOUT).await;
        dispatcher.set_progress(7);
    });
    assert_eq!(storage.wait_for(7).await.unwrap(), 7);
    assert_eq!(storage.wait_for(8).await.unwrap_err().code, 504);
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

#[tokio::test]
async fn caches_are_told_with_what_they_took_in() {
    let dir = tempfile::tempdir().unwrap();
    let options = SqliteOptions { durable: false, ..SqliteOptions::new(dir.path().join("state.db")) };
    let storage = Storage::new(Arc::new(SqliteStore::open(&options).unwrap()));
    let registry = Registry::builtin();
    let leases = registry.get("coordination.k8s.io", "v1", "leases").unwrap();
    let cache = storage.cache(leases).await.unwrap();
    let change = |revision: Revision, text: &str| {
        let key = object_key(leases, "n", "x").into();
        let entry = Entry { key, value: text.to_owned().into(), create_revision: revision, mod_revision: revision };
        Change { kind: ChangeKind::Updated, entry, previous: None, attached: None }
    };
    let text = r#"{"kind":"Lease","apiVersion":"coordination.k8s.io/v1","metadata":{"name":"x","namespace":"n"}}"#;
    cache.apply(&change(2, text));
    cache.apply(&change(3, "no object"));
    cache.figures().listed(4, 1);
    let mut told = String::new();
    storage.render(&mut told);
    let labels = "group=\"coordination.k8s.io\",resource=\"leases\"";
    for line in [
        format!("apiserver_watch_cache_events_received_total{{{labels}}} 2"),
        format!("apiserver_watch_cache_events_dispatched_total{{{labels}}} 1"),
        format!("apiserver_watch_cache_initializations_total{{{labels}}} 1"),
        format!("apiserver_watch_cache_resource_version{{{labels}}} 2"),
        "apiserver_cache_list_total{group=\"coordination.k8s.io\",index=\"\",resource=\"leases\"} 1".to_owned(),
        format!("apiserver_cache_list_returned_objects_total{{{labels}}} 1"),
    ] {
        assert!(told.lines().any(|own| own == line), "{line}\n{told}");
    }
}

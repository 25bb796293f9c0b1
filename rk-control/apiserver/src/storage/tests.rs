//! Reads of the caches against writes of this server.

use rk_api::resources::Registry;
use rk_store::{SqliteOptions, SqliteStore};
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

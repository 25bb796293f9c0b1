//! The end of a store in the database.

use rk_store::{SqliteStore, Store};

/// Drops a store and waits until its files are closed: a watch ends after that.
pub async fn close(store: SqliteStore) {
    let mut watch = store.watch("/", store.revision().await.unwrap()).await.unwrap();
    drop(store);
    while watch.next().await.is_some() {}
}

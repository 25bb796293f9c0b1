//! The one watch over the store that feeds every cache.

use std::sync::Arc;
use std::time::Duration;

use rk_store::{Change, Revision, StoreError, Watch, WatchItem};
use tokio_util::sync::CancellationToken;

use super::Storage;
use super::key::ROOT;
use super::resource_cache::ResourceCache;
use crate::http::call_together;

/// Pause before a failed watch is opened again.
const RETRY: Duration = Duration::from_millis(200);

/// Feeds the caches until `shutdown`, then ends them, and with them their watches. `start` is a revision read before any cache was loaded.
pub async fn run(storage: Arc<Storage>, start: Revision, shutdown: CancellationToken) {
    // Wherever it is: a store that does not answer holds up no end.
    shutdown.run_until_cancelled(feed(&storage, start)).await;
    for cache in storage.all_slots().iter().filter_map(|slot| slot.loaded()) {
        cache.abandon();
    }
}

/// Follows the store for ever.
async fn feed(storage: &Storage, start: Revision) {
    let mut position = start;
    loop {
        match follow(storage, &mut position).await {
            Err(StoreError::Compacted { compacted, .. }) => {
                tracing::warn!(position, compacted, "the store's watch fell behind its history; caches load again");
                match start_over(storage).await {
                    Ok(now) => position = now,
                    Err(error) => tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the store does not tell where it is; trying again"
                    ),
                }
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    position,
                    "the store's watch ended; opening it again"
                );
            }
            Ok(()) => {}
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Has every cache load again, since a gap cannot be filled; answers the revision after which the next watch is to begin.
async fn start_over(storage: &Storage) -> Result<Revision, StoreError> {
    // Asked before the caches end: what loads after that has at least this state, so that no change is between its list and the watch.
    let now = storage.store.revision().await?;
    for slot in storage.all_slots() {
        slot.abandon();
    }
    // Told after the caches ended: who waited for this finds none that has missed something.
    storage.set_progress(now);
    Ok(now)
}

async fn follow(storage: &Storage, position: &mut Revision) -> Result<(), StoreError> {
    let mut watch: Watch = storage.store.watch(ROOT, *position).await?;
    while let Some(item) = watch.next().await {
        let touched = match item? {
            WatchItem::Changes(changes) => {
                let last = changes.last().map_or(0, |change| change.entry.mod_revision);
                *position = (*position).max(last);
                apply(storage, &changes)
            }
            WatchItem::Progress(revision) => {
                *position = (*position).max(revision);
                Vec::new()
            }
        };
        // Requests that wait for the caches are few and go before the watchers, which may be thousands.
        storage.set_progress(*position);
        call_together(|| touched.iter().for_each(|cache| cache.wake()));
    }
    Ok(())
}

/// Gives a whole commit to the caches; answers those that it touched, once each, whose watches are yet to be woken.
fn apply(storage: &Storage, changes: &[Change]) -> Vec<Arc<ResourceCache>> {
    let mut touched: Vec<Arc<ResourceCache>> = Vec::new();
    for change in changes {
        let slot = storage.slot_of_key(&change.entry.key);
        let Some(cache) = slot.and_then(|slot| slot.offer(change)) else { continue };
        if !touched.iter().any(|known| Arc::ptr_eq(known, &cache)) {
            touched.push(cache);
        }
    }
    touched
}

#[cfg(test)]
mod tests {
    use rk_api::resources::Registry;
    use rk_store::{ChangeKind, Entry, SqliteOptions, SqliteStore};

    use super::super::window::Events;
    use super::super::{object_key, prefix};
    use super::*;

    #[tokio::test]
    async fn a_commit_is_seen_whole_and_wakes_its_watchers_once() {
        let dir = tempfile::tempdir().unwrap();
        let options = SqliteOptions { durable: false, ..SqliteOptions::new(dir.path().join("state.db")) };
        let storage = Storage::new(Arc::new(SqliteStore::open(&options).unwrap()));
        let registry = Registry::builtin();
        let maps = registry.get("", "v1", "configmaps").unwrap();
        let cache = storage.cache(maps).await.unwrap();
        let mut changed = cache.subscribe();
        let changes = [2, 3].map(|revision: Revision| {
            let name = format!("m-{revision}");
            let text =
                format!(r#"{{"kind":"ConfigMap","apiVersion":"v1","metadata":{{"name":"{name}","namespace":"n"}}}}"#);
            let key = object_key(maps, "n", &name).into();
            let entry = Entry { key, value: text.into(), create_revision: revision, mod_revision: revision };
            Change { kind: ChangeKind::Created, entry, previous: None, attached: None }
        });
        assert!(changes[0].entry.key.starts_with(&prefix(maps)));
        let touched = apply(&storage, &changes);
        assert_eq!(touched.len(), 1);
        assert!(!changed.has_changed().unwrap(), "nobody is woken half-way");
        assert!(matches!(cache.events_after(1, 10), Events::Many(events) if events.len() == 2));
        touched[0].wake();
        assert_eq!(*changed.borrow_and_update(), 3);
        assert!(!changed.has_changed().unwrap());
    }
}

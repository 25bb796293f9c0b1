//! The one watch over the store that feeds every cache.

use std::sync::Arc;
use std::time::Duration;

use rk_store::{Revision, StoreError, Watch, WatchItem};
use tokio_util::sync::CancellationToken;

use super::Storage;
use super::key::ROOT;

/// Pause before a failed watch is opened again.
const RETRY: Duration = Duration::from_millis(200);

/// Feeds the caches until `shutdown`, then lets their watches see that it is time to end. `start` is a revision read before any cache was loaded.
pub async fn run(storage: Arc<Storage>, start: Revision, shutdown: CancellationToken) {
    feed(&storage, start, &shutdown).await;
    for cache in storage.all_slots().iter().filter_map(|slot| slot.loaded()) {
        cache.wake();
    }
}

async fn feed(storage: &Storage, start: Revision, shutdown: &CancellationToken) {
    let mut position = start;
    loop {
        let outcome = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            outcome = follow(storage, &mut position) => outcome,
        };
        match outcome {
            // The gap cannot be filled: caches start over from a list.
            Err(StoreError::Compacted { compacted, .. }) => {
                tracing::warn!(position, compacted, "the store's watch fell behind its history; caches load anew");
                for slot in storage.all_slots() {
                    slot.abandon();
                }
                if let Ok(now) = storage.store.revision().await {
                    position = now;
                    storage.progress.send_replace(now);
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
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(RETRY) => {}
        }
    }
}

async fn follow(storage: &Storage, position: &mut Revision) -> Result<(), StoreError> {
    let mut watch: Watch = storage.store.watch(ROOT, *position).await?;
    while let Some(item) = watch.next().await {
        match item? {
            WatchItem::Changes(changes) => {
                for change in &changes {
                    if let Some(slot) = storage.slot_of_key(&change.entry.key) {
                        slot.offer(change);
                    }
                    *position = (*position).max(change.entry.mod_revision);
                }
            }
            WatchItem::Progress(revision) => *position = (*position).max(revision),
        }
        storage.progress.send_replace(*position);
    }
    Ok(())
}

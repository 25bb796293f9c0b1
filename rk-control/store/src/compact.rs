//! Periodic compaction, so that history stays bounded.

use std::sync::Arc;
use std::time::Duration;

use crate::store::Store;

/// Compacts, every `interval`, the history that is older than one interval. Runs until dropped.
///
/// Upstream's API server does the same against etcd every five minutes, which makes five to ten minutes of history readable.
pub async fn compact_periodically(store: Arc<dyn Store>, interval: Duration) {
    let mut horizon = None;
    loop {
        tokio::time::sleep(interval).await;
        let now = match store.revision().await {
            Ok(revision) => revision,
            Err(error) => {
                tracing::warn!(%error, "cannot read the store's revision; compaction waits");
                continue;
            }
        };
        if let Some(revision) = horizon.replace(now)
            && let Err(error) = store.compact(revision).await
        {
            tracing::warn!(%error, revision, "compaction failed; it is tried again later");
        }
    }
}

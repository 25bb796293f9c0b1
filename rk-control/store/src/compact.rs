//! Periodic compaction, so that history stays bounded.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::store::Store;

/// In how many steps the kept time passes: history is readable for that time and at most one step longer.
const STEPS: u32 = 5;

/// Compacts again and again the history that is older than `kept`. Runs until dropped.
///
/// Upstream's API server compacts etcd every five minutes to where it was five minutes before, which makes five to ten minutes of
/// history readable; smaller steps keep the same five minutes and let clients of old revisions hear sooner that they are gone.
pub async fn compact_periodically(store: Arc<dyn Store>, kept: Duration) {
    let mut marks = VecDeque::new();
    loop {
        tokio::time::sleep(kept / STEPS).await;
        let now = match store.revision().await {
            Ok(revision) => revision,
            Err(error) => {
                tracing::warn!(%error, "cannot read the store's revision; compaction waits");
                continue;
            }
        };
        marks.push_back(now);
        if marks.len() <= STEPS as usize {
            continue;
        }
        if let Some(revision) = marks.pop_front()
            && let Err(error) = store.compact(revision).await
        {
            tracing::warn!(%error, revision, "compaction failed; it is tried again later");
        }
    }
}

//! The end of all pods, when the machine goes down.

use tokio::sync::watch;

use super::Manager;
use crate::pod::spec;

/// Resolves when the machine is told to go down.
pub(super) async fn told(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        // Nobody can tell any more: the process ends by other means.
        std::future::pending::<()>().await;
    }
}

impl Manager {
    /// Ends all pods, because the machine goes down. Their objects stay.
    pub(super) async fn shut_down(self) {
        let deadline = self.context.options.shutdown_grace;
        tracing::info!(pods = self.workers.len(), ?deadline, "the machine goes down: ending all pods");
        for handle in self.workers.values() {
            handle.task.abort();
        }
        let limit = i64::try_from(deadline.as_secs()).unwrap_or(30);
        let ends = self.workers.values().map(|handle| {
            let pod = handle.desired.borrow().pod().clone();
            let context = self.context.clone();
            async move {
                let Ok(found) = context.runtime.pod(spec::uid(&pod)).await else { return };
                let grace = spec::grace_seconds(&pod).min(limit);
                if let Err(error) = crate::pod::kill::kill_all(&context, &pod, &found, grace).await {
                    tracing::warn!(pod = %spec::describe(&pod), "ending a pod: {error}");
                }
            }
        });
        if tokio::time::timeout(deadline, futures::future::join_all(ends)).await.is_err() {
            tracing::warn!("some pods did not end in time");
        }
    }
}

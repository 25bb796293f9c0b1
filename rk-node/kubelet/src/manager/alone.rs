//! Without the API: the node goes on with what it knew last.

use tokio::time::Instant;

use super::{Manager, of_api};
use crate::pod::spec;

/// Resolves at a time, or never.
pub(super) async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

impl Manager {
    /// Runs what the node ran when it heard the API last. The first list corrects that: what it does not name ends.
    pub(super) fn recall(&mut self) {
        self.alone = None;
        if self.leaving.is_some() {
            return;
        }
        let pods = self.context.known.pods();
        tracing::warn!(pods = pods.len(), "the API does not answer: the node goes on with what it knew");
        self.context.services.recall(self.context.known.surroundings().into_services());
        for pod in pods.into_iter().map(of_api) {
            if !self.workers.contains_key(spec::uid(&pod)) {
                self.present(pod);
            }
        }
        self.known = true;
        self.show();
    }
}

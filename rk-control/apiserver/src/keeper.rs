//! The loop of a keeper: a task that compares what is with what should be, in every server, until shutdown.

use std::sync::Arc;
use std::time::Duration;

use rk_api::status::Status;

use crate::server::Core;

/// Takes one turn after the other until shutdown; a failed one is logged as `failure` and followed by a pause.
pub async fn keep(
    core: Arc<Core>,
    pause: Duration,
    failure: &'static str,
    turn: impl AsyncFn(&Arc<Core>) -> Result<(), Status>,
) {
    let stop = core.shutdown.clone();
    loop {
        let outcome = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            outcome = turn(&core) => outcome,
        };
        if let Err(status) = outcome {
            tracing::warn!(%status, "{failure}; trying again");
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}

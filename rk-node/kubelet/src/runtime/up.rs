//! Waiting for the runtime's first answer, so that a node that starts does not cry about a socket that appears a moment later.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::client::Runtime;

/// A runtime that takes up what a crash left may need this long before its socket appears.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two attempts: they cost a connect to a local socket.
const PACE: Duration = Duration::from_millis(50);
/// One attempt; a runtime that accepts and says nothing is not up.
const ATTEMPT: Duration = Duration::from_secs(2);

/// Waits until the runtime answers, quietly; after 20 s it says so and lets the node go on without it.
pub async fn runtime_is_up(runtime: &Runtime) -> bool {
    wait(runtime, PATIENCE).await
}

async fn wait(runtime: &Runtime, patience: Duration) -> bool {
    let began = Instant::now();
    loop {
        let problem = match timeout(ATTEMPT, runtime.version()).await {
            Ok(Ok(answer)) => {
                tracing::debug!(runtime = %answer.runtime_name, after = ?began.elapsed(), "the container runtime answers");
                return true;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {ATTEMPT:?}"),
        };
        if began.elapsed() >= patience {
            tracing::warn!("the container runtime does not answer; the node stays unready until it does: {problem}");
            return false;
        }
        sleep(PACE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_runtime_that_never_comes_is_waited_for_and_then_given_up() {
        let (began, patience) = (Instant::now(), PACE * 3);
        assert!(!wait(&Runtime::connect(std::path::Path::new("/nonexistent/cri.sock")), patience).await);
        assert!(began.elapsed() >= patience, "{:?}", began.elapsed());
    }
}

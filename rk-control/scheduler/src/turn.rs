//! The right to call the API, of which few have one at a time.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// One binding's right to call the API.
#[derive(Debug)]
pub(crate) struct Turn {
    calls: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Turn {
    /// A permit of `calls`.
    pub(crate) fn new(calls: &Arc<Semaphore>, permit: OwnedSemaphorePermit) -> Self {
        Self { calls: Arc::clone(calls), permit: Some(permit) }
    }

    /// Waits for what others do, and lets others call the API meanwhile: a driver may take minutes, and no pod but its own waits for it.
    pub(crate) async fn lend<T>(&mut self, wait: impl Future<Output = T>) -> T {
        drop(self.permit.take());
        let done = wait.await;
        // Closed never: whoever has a turn keeps the semaphore.
        self.permit = Arc::clone(&self.calls).acquire_owned().await.ok();
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_for_a_driver_keeps_nobody_from_the_api() {
        let calls = Arc::new(Semaphore::new(1));
        let permit = Arc::clone(&calls).acquire_owned().await.expect("it is free");
        let mut turn = Turn::new(&calls, permit);
        assert_eq!(calls.available_permits(), 0);
        let free = turn.lend(async { calls.available_permits() }).await;
        assert_eq!((free, calls.available_permits()), (1, 0));
        drop(turn);
        assert_eq!(calls.available_permits(), 1);
    }
}

//! What the node tells of the volumes that it uses, and who waits for that.
//!
//! Nobody detaches a volume that its node says it uses. So a volume is told of before the node looks whether it is attached: after that it
//! is there to stay. What is told is read from the records of volumes; here is only when they changed, and which change was told.

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// One for whoever changes the records and whoever tells of them.
#[derive(Clone, Debug, Default)]
pub struct InUse {
    /// Number of the last change.
    changed: watch::Sender<u64>,
    /// Up to which change the API server was told.
    told: watch::Sender<u64>,
}

impl InUse {
    /// The records have changed; its number, to wait for.
    pub fn change(&self) -> u64 {
        let mut number = 0;
        self.changed.send_modify(|last| {
            *last += 1;
            number = *last;
        });
        number
    }

    /// Shows changes from now on to who tells of them.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The number of the last change: to be read before the records are.
    pub fn latest(&self) -> u64 {
        *self.changed.borrow()
    }

    /// The API server knows of all changes up to this one.
    pub fn tell(&self, number: u64) {
        self.told.send_replace(number);
    }

    /// Waits until the API server knows of this change; false when it does not until `deadline`.
    pub async fn is_told(&self, number: u64, deadline: Instant) -> bool {
        let mut told = self.told.subscribe();
        let heard = timeout_at(deadline, told.wait_for(|told| *told >= number)).await;
        matches!(heard, Ok(Ok(_)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_volume_waits_until_its_own_change_is_told() {
        let in_use = InUse::default();
        let mut changes = in_use.changes();
        let soon = || Instant::now() + Duration::from_secs(1);
        let first = in_use.change();
        let before = in_use.latest();
        let second = in_use.change();
        assert!(changes.has_changed().unwrap());
        assert_eq!(*changes.borrow_and_update(), second);
        in_use.tell(before);
        assert!(in_use.is_told(first, soon()).await);
        assert!(!in_use.is_told(second, soon()).await, "it came after the records were read");
        let tell = async {
            tokio::task::yield_now().await;
            in_use.tell(in_use.latest());
        };
        assert!(tokio::join!(in_use.is_told(second, soon()), tell).0);
    }
}

//! Volumes that cannot be attached for want of room on the node, and since when that is so (KEP-4876).

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long a pod waits for room; upstream's pods wait as long for their volumes.
const PATIENCE: Duration = Duration::from_secs(123);
/// What was not said again for so long is not so any more: a pod that waits asks more often.
const FORGET: Duration = Duration::from_secs(300);

/// When that was said of a volume first, and when last.
type Said = (Instant, Instant);

/// The volumes, by the names of their attachments.
#[derive(Debug, Default)]
pub struct Crowded(Mutex<BTreeMap<String, Said>>);

impl Crowded {
    /// There is no room for a volume, says its attacher.
    pub fn note(&self, attachment: &str, now: Instant) {
        let mut all = self.all();
        all.retain(|_, (_, last)| now.duration_since(*last) < FORGET);
        all.entry(attachment.to_owned()).or_insert((now, now)).1 = now;
    }

    /// The volume is attached.
    pub fn forget(&self, attachment: &str) {
        self.all().remove(attachment);
    }

    /// Whether its pod is to wait for a volume no longer. The next one begins anew.
    pub fn gives_up(&self, attachment: &str, now: Instant) -> bool {
        let mut all = self.all();
        // Just now: a pod may fail for another reason meanwhile.
        let over = all.get(attachment).is_some_and(|(first, last)| {
            last.duration_since(*first) >= PATIENCE && now.duration_since(*last) < PATIENCE
        });
        if over {
            all.remove(attachment);
        }
        over
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Said>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_waits_for_room_as_long_as_for_its_volumes_and_the_next_one_as_long_again() {
        let (crowded, begun) = (Crowded::default(), Instant::now());
        let at = |seconds: u64| begun + Duration::from_secs(seconds);
        let says = |seconds: u64| {
            crowded.note("a", at(seconds));
            crowded.gives_up("a", at(seconds))
        };
        assert!(!crowded.gives_up("a", begun), "nobody said so");
        assert_eq!([says(0), says(60), says(122), says(123), says(124)], [false, false, false, true, false]);
        assert!(!says(500), "it was forgotten");
        crowded.forget("a");
        assert!(!says(640), "it had room meanwhile");
        crowded.note("a", at(700));
        assert!(!crowded.gives_up("a", at(1000)) && !crowded.gives_up("b", at(700)));
    }
}

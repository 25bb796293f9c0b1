//! Whether a loop still turns: it beats at each turn, and others ask how long ago that was.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A loop that takes longer for a turn is stuck (upstream's `syncLoopHealthCheck`: five minutes, with turns each minute at least).
const LONGEST: Duration = Duration::from_secs(300);

/// The beats of one loop; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Heartbeat(Arc<Mutex<Option<Instant>>>);

impl Heartbeat {
    /// The loop turns.
    pub fn beat(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether it turned lately; one that has not begun yet is no reason for alarm.
    pub fn check(&self) -> Result<(), String> {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        judge(last, Instant::now())
    }
}

fn judge(last: Option<Instant>, now: Instant) -> Result<(), String> {
    match last {
        Some(last) if now.saturating_duration_since(last) > LONGEST => {
            Err("sync Loop took longer than expected".to_owned())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_turned_lately_is_well() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        assert!(judge(None, after(1000)).is_ok());
        assert!(judge(Some(start), after(300)).is_ok());
        assert_eq!(judge(Some(start), after(301)), Err("sync Loop took longer than expected".to_owned()));
        assert!(Heartbeat::default().check().is_ok());
    }
}

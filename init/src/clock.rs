//! Notices that the wall clock was set: what is dated by it was dated wrongly.

use rk_supervise::Millis;
use std::time::{SystemTime, UNIX_EPOCH};

/// Smaller steps spoil no certificate.
const MOST_STEP: i64 = 3_600;

/// The distance between wall clock and the time since the boot, as it was at the last look.
#[derive(Debug, Default)]
pub struct WallClock {
    distance: Option<i64>,
}

impl WallClock {
    /// The seconds by which the wall clock was moved since the last look, when they matter.
    pub fn stepped(&mut self, now: Millis) -> Option<i64> {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.look(now, i64::try_from(wall).unwrap_or(i64::MAX))
    }

    fn look(&mut self, now: Millis, wall: i64) -> Option<i64> {
        let distance = wall.saturating_sub(i64::try_from(now / 1000).unwrap_or(i64::MAX));
        let step = distance.saturating_sub(self.distance.replace(distance)?);
        (step.abs() > MOST_STEP).then_some(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_step_is_noticed_once_and_time_that_passes_is_none() {
        let mut clock = WallClock::default();
        let table = [
            (1_000, 1_000_000, None),
            (9_000_000, 1_008_999, None),
            (9_001_000, 400_000_000, Some(398_991_000)),
            (9_002_000, 400_000_001, None),
            (9_003_000, 400_003_000, None),
            (9_004_000, 1_000_000, Some(-399_003_001)),
        ];
        for (now, wall, wanted) in table {
            assert_eq!(clock.look(now, wall), wanted, "{now} {wall}");
        }
    }
}

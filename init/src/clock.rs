//! The wall clock: raised at start when it cannot be right, and watched, since what was dated by a wrong one was dated wrongly.

use crate::console::Journal;
use rk_supervise::Millis;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Smaller steps spoil no certificate.
const MOST_STEP: i64 = 3_600;

/// Raises a clock that is earlier than this system to the day that the system is dated by: the certificates of operators and authorities
/// are valid from before then, so that a dead battery locks nobody out who could see to the time (systemd's build epoch is the same rule).
pub fn raise(journal: &mut Journal) {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let Some(raised) = raised(clock) else { return };
    match rk_sys::set_clock(raised) {
        Ok(()) => journal.say(format_args!(
            "this node's clock says {}, which cannot be: it goes on from {} until a server of network.ntp.servers or the firmware sets it",
            rk_netd::year(clock),
            rk_netd::year(raised)
        )),
        Err(err) => journal.failed("raising the clock", &err),
    }
}

/// What a clock must at least say; `None` when it does. Never earlier than it is.
fn raised(clock: Duration) -> Option<Duration> {
    (clock < rk_netd::EARLIEST).then_some(rk_netd::EARLIEST)
}

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
    fn a_clock_from_before_this_system_is_raised_and_no_other_is_touched() {
        let second = Duration::from_secs(1);
        for early in [Duration::ZERO, second, rk_netd::EARLIEST - second] {
            assert_eq!(raised(early), Some(rk_netd::EARLIEST), "{early:?}");
        }
        for late in [rk_netd::EARLIEST, rk_netd::EARLIEST + second, rk_netd::EARLIEST * 2] {
            assert_eq!(raised(late), None, "{late:?}");
        }
    }

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

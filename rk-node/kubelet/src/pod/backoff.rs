//! Exponential back-off with a memory that fades, for restarts and image pulls. Values only; the caller brings the clock.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::clock::elapsed;

/// First pause.
const INITIAL: Duration = Duration::from_secs(10);
/// Longest pause, unless told otherwise.
const LONGEST: Duration = Duration::from_secs(300);
/// After this long without a failure the memory is gone.
const RESET: Duration = Duration::from_secs(600);

#[derive(Clone, Debug)]
struct Entry {
    pause: Duration,
    updated: Timestamp,
}

/// Pauses by key.
#[derive(Clone, Debug)]
pub struct BackOff {
    entries: HashMap<String, Entry>,
    longest: Duration,
}

impl Default for BackOff {
    fn default() -> Self {
        Self::up_to(LONGEST)
    }
}

impl BackOff {
    /// Pauses no longer than this; the first is shorter too, if need be.
    pub fn up_to(longest: Duration) -> Self {
        Self { entries: HashMap::new(), longest }
    }

    /// The pause in force for `key`, zero when none is.
    pub fn pause(&self, key: &str) -> Duration {
        self.entries.get(key).map_or(Duration::ZERO, |e| e.pause)
    }

    /// How much longer to wait after an event (an exit, a failed pull) at `event`; `None` when there is nothing to wait for.
    pub fn remaining(&self, key: &str, event: Timestamp, now: Timestamp) -> Option<Duration> {
        let entry = self.entries.get(key)?;
        if elapsed(now, entry.updated) > RESET {
            return None;
        }
        entry.pause.checked_sub(elapsed(now, event)).filter(|left| !left.is_zero())
    }

    /// Notes an attempt that follows an event at `event`: the next pause doubles, or starts anew when all was well for long.
    pub fn note(&mut self, key: &str, event: Timestamp, now: Timestamp) {
        let pause = match self.entries.get(key) {
            Some(entry) if elapsed(event, entry.updated) <= RESET => (entry.pause * 2).min(self.longest),
            _ => INITIAL.min(self.longest),
        };
        self.entries.insert(key.to_owned(), Entry { pause, updated: now });
    }

    /// Forgets a key.
    pub fn forget(&mut self, key: &str) {
        self.entries.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn pauses_double_from_ten_seconds_to_five_minutes() {
        let mut back_off = BackOff::default();
        let mut now = 1_000;
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let exit = now + 1;
            pauses.push(back_off.remaining("k", at(exit), at(exit)).map_or(0, |d| d.as_secs()));
            now = exit + pauses.last().map_or(0, |p| *p as i64);
            back_off.note("k", at(exit), at(now));
        }
        assert_eq!(pauses, [0, 10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn no_pause_is_longer_than_told() {
        for (longest, want) in [(20, [10, 20, 20]), (3, [3, 3, 3])] {
            let mut back_off = BackOff::up_to(Duration::from_secs(longest));
            let pauses = [0, 30, 60].map(|second| {
                back_off.note("k", at(second), at(second));
                back_off.pause("k").as_secs()
            });
            assert_eq!(pauses, want);
        }
    }

    #[test]
    fn ten_good_minutes_clear_the_memory() {
        let mut back_off = BackOff::default();
        back_off.note("k", at(0), at(0));
        back_off.note("k", at(10), at(20));
        assert_eq!(back_off.pause("k").as_secs(), 20);
        assert_eq!(back_off.remaining("k", at(621), at(621)), None);
        back_off.note("k", at(621), at(621));
        assert_eq!(back_off.pause("k").as_secs(), 10);
    }
}

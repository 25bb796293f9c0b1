//! The watchdog: the machine restarts by itself when PID 1 hangs, or when the node agent stays away or does nothing any more.

use crate::console::Journal;
use rk_config::ALIVE_PATH;
use rk_supervise::Millis;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::time::SystemTime;

const DEVICE: &str = "/dev/watchdog";
/// The shortest timeout of common devices is 30 s; PID 1 turns at least this often.
const FEED_EVERY: Millis = 8_000;
/// Restarts of the node agent take half a minute at most each; longer without it, the machine is better started anew.
const PATIENCE: Millis = 600_000;
/// Less would take a restart with back-off for an end.
const LEAST_PATIENCE: Millis = 60_000;

/// How long the node agent may be away, from the value of `rk.watchdog=`; `None` when nobody is to watch.
pub fn patience(word: Option<&str>) -> Option<Millis> {
    match word {
        Some("off") => None,
        Some(seconds) => {
            Some(seconds.parse::<u64>().map_or(PATIENCE, |seconds| seconds.saturating_mul(1000).max(LEAST_PATIENCE)))
        }
        None => Some(PATIENCE),
    }
}

/// What PID 1 knows of the node agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agent {
    /// There is none to wait for: the node has no config yet, or the machine goes down.
    Unwanted,
    /// It has no process.
    Away,
    /// It has a process, which may hang.
    Running,
}

/// When the watchdog is fed, as a pure decision.
#[derive(Debug)]
struct Judge {
    patience: Millis,
    alive_at: Millis,
    sign: Option<SystemTime>,
}

impl Judge {
    /// Whether to feed now. `sign`: when the agent gave its last sign of life, by a clock that may be set; only that it is another one
    /// than before says anything.
    fn feed(&mut self, now: Millis, agent: Agent, sign: Option<SystemTime>) -> bool {
        let fresh = sign.is_some() && sign != self.sign;
        self.sign = sign;
        let alive = match agent {
            Agent::Unwanted => true,
            Agent::Away => false,
            Agent::Running => fresh,
        };
        if alive {
            self.alive_at = now;
        }
        now.saturating_sub(self.alive_at) < self.patience
    }
}

/// The device, once it is open: from then on it must be fed.
#[derive(Debug)]
pub struct Watchdog {
    device: Option<File>,
    judge: Judge,
    next: Millis,
    starving: bool,
}

impl Watchdog {
    /// Opens the device, if the machine has one and [`patience`] tells a time.
    pub fn open(journal: &mut Journal, now: Millis, patience: Option<Millis>) -> Watchdog {
        let device = patience.and_then(|_| OpenOptions::new().write(true).open(DEVICE).ok());
        if device.is_none() && patience.is_some() {
            journal.say("no watchdog: a machine that hangs stays so");
        }
        let judge = Judge { patience: patience.unwrap_or(PATIENCE), alive_at: now, sign: None };
        Watchdog { device, judge, next: now, starving: false }
    }

    /// Feeds it when that is due.
    pub fn tick(&mut self, journal: &mut Journal, now: Millis, agent: Agent) {
        if now < self.next {
            return;
        }
        let Some(device) = &mut self.device else { return };
        self.next = now + FEED_EVERY;
        if self.judge.feed(now, agent, last_sign()) {
            self.starving = false;
            if let Err(err) = device.write_all(b".") {
                journal.failed("feeding the watchdog", &err);
            }
        } else if !std::mem::replace(&mut self.starving, true) {
            let what = if agent == Agent::Away { "stays away" } else { "gives no sign of life" };
            journal.say(format_args!("the node agent {what}: the watchdog is not fed and restarts the machine"));
        }
    }

    /// When [`Watchdog::tick`] is due.
    pub fn next(&self) -> Option<Millis> {
        self.device.as_ref().map(|_| self.next)
    }
}

/// When the node agent touched its note last.
fn last_sign() -> Option<SystemTime> {
    fs::metadata(ALIVE_PATH).and_then(|note| note.modified()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn judge() -> Judge {
        Judge { patience: PATIENCE, alive_at: 0, sign: None }
    }

    fn sign(second: u64) -> Option<SystemTime> {
        Some(SystemTime::UNIX_EPOCH + Duration::from_secs(second))
    }

    #[test]
    fn it_is_fed_while_the_node_agent_lives_and_some_time_longer() {
        let mut judge = judge();
        assert!(judge.feed(0, Agent::Running, sign(1)));
        assert!(judge.feed(PATIENCE - 1, Agent::Away, sign(1)));
        assert!(!judge.feed(PATIENCE, Agent::Away, sign(1)));
        assert!(judge.feed(PATIENCE + 5, Agent::Running, sign(2)));
        assert!(judge.feed(PATIENCE + 6, Agent::Away, sign(2)));
        assert!(judge.feed(9 * PATIENCE, Agent::Unwanted, None));
    }

    #[test]
    fn an_agent_that_is_there_and_gives_no_new_sign_of_life_is_none() {
        let mut judge = judge();
        assert!(judge.feed(10, Agent::Running, sign(500)));
        // The clock was set back: another time is a sign all the same.
        assert!(judge.feed(20, Agent::Running, sign(3)));
        assert!(judge.feed(PATIENCE + 19, Agent::Running, sign(3)));
        assert!(!judge.feed(PATIENCE + 20, Agent::Running, sign(3)));
        let mut silent = self::judge();
        assert!(silent.feed(PATIENCE - 1, Agent::Running, None));
        assert!(!silent.feed(PATIENCE, Agent::Running, None), "it never gave one");
    }

    #[test]
    fn patience_is_long_unless_told_otherwise_and_never_too_short() {
        let table = [
            (None, Some(PATIENCE)),
            (Some("off"), None),
            (Some("90"), Some(90_000)),
            (Some("1"), Some(LEAST_PATIENCE)),
            (Some("often"), Some(PATIENCE)),
            (Some("99999999999999999999"), Some(PATIENCE)),
        ];
        for (word, wanted) in table {
            assert_eq!(patience(word), wanted, "{word:?}");
        }
    }
}

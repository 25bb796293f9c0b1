//! The watchdog: the machine restarts by itself when PID 1 hangs, or when the node agent stays away.

use crate::console::Journal;
use rk_supervise::Millis;
use std::fs::{File, OpenOptions};
use std::io::Write;

const DEVICE: &str = "/dev/watchdog";
/// The shortest timeout of common devices is 30 s; PID 1 turns at least this often.
const FEED_EVERY: Millis = 8_000;
/// Restarts of the node agent take half a minute at most each; longer without it, the machine is better started anew.
const PATIENCE: Millis = 600_000;

/// When the watchdog is fed, as a pure decision.
#[derive(Debug, Default)]
struct Judge {
    alive_at: Millis,
}

impl Judge {
    /// Whether to feed now. `alive`: the node agent runs, or none is wanted.
    fn feed(&mut self, now: Millis, alive: bool) -> bool {
        if alive {
            self.alive_at = now;
        }
        now.saturating_sub(self.alive_at) < PATIENCE
    }
}

/// The device, once it is open: from then on it must be fed.
#[derive(Debug, Default)]
pub struct Watchdog {
    device: Option<File>,
    judge: Judge,
    next: Millis,
    starving: bool,
}

impl Watchdog {
    /// Opens the device, if the machine has one.
    pub fn open(journal: &mut Journal, now: Millis) -> Watchdog {
        let device = OpenOptions::new().write(true).open(DEVICE).ok();
        if device.is_none() {
            journal.say("no watchdog: a machine that hangs stays so");
        }
        Watchdog { device, judge: Judge { alive_at: now }, next: now, starving: false }
    }

    /// Feeds it when that is due.
    pub fn tick(&mut self, journal: &mut Journal, now: Millis, alive: bool) {
        if now < self.next {
            return;
        }
        let Some(device) = &mut self.device else { return };
        self.next = now + FEED_EVERY;
        if self.judge.feed(now, alive) {
            self.starving = false;
            if let Err(err) = device.write_all(b".") {
                journal.failed("feeding the watchdog", &err);
            }
        } else if !std::mem::replace(&mut self.starving, true) {
            journal.say("the node agent stays away: the watchdog is not fed and restarts the machine");
        }
    }

    /// When [`Watchdog::tick`] is due.
    pub fn next(&self) -> Option<Millis> {
        self.device.as_ref().map(|_| self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_fed_while_the_node_agent_lives_and_some_time_longer() {
        let mut judge = Judge::default();
        assert!(judge.feed(0, true));
        assert!(judge.feed(PATIENCE - 1, false));
        assert!(!judge.feed(PATIENCE, false));
        assert!(judge.feed(PATIENCE + 5, true));
        assert!(judge.feed(PATIENCE + 6, false));
    }
}

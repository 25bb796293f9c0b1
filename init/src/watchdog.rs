//! The watchdog: the machine restarts by itself when PID 1 hangs, or when the node agent stays away or does nothing any more.

use crate::console::Journal;
use rk_config::ALIVE_PATH;
use rk_supervise::{Millis, State};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

const DEVICE: &str = "/dev/watchdog";
/// The shortest timeout of common devices is 30 s; PID 1 turns at least this often.
const FEED_EVERY: Millis = 8_000;
/// Restarts of the node agent take half a minute at most each; longer without it, the machine is better started anew.
const PATIENCE: Millis = 600_000;
/// Less would take a restart with back-off for an end.
const LEAST_PATIENCE: Millis = 60_000;
/// What one look adds to the agent's absence at most: a machine that stood still, or a PID 1 that got no turn, says nothing of the agent.
const LONGEST_STEP: Millis = 2 * FEED_EVERY;
/// An agent that ends sooner has not lived, however often it is started: its sign of life comes every ten seconds.
const FLEETING: Millis = 15_000;
/// How long one step may keep PID 1: writing back and unmounting at the end of the machine, opening a disk.
const LONGEST_WORK: Millis = 300_000;

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
    /// It has no process, or one that has just begun or is to end.
    Away,
    /// It has a process, which may hang.
    Running,
}

impl Agent {
    /// By the state of its service.
    pub fn of(state: Option<State>, now: Millis) -> Agent {
        match state {
            None => Agent::Unwanted,
            Some(State::Running { since, .. }) if now.saturating_sub(since) >= FLEETING => Agent::Running,
            Some(_) => Agent::Away,
        }
    }
}

/// When the watchdog is fed, as a pure decision.
#[derive(Debug)]
struct Judge {
    patience: Millis,
    /// How long the agent was seen to be away or silent.
    absent: Millis,
    looked_at: Millis,
    sign: Option<SystemTime>,
}

impl Judge {
    fn new(now: Millis, patience: Millis) -> Judge {
        Judge { patience, absent: 0, looked_at: now, sign: None }
    }

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
        let step = now.saturating_sub(self.looked_at).min(LONGEST_STEP);
        self.looked_at = now;
        self.absent = if alive { 0 } else { self.absent.saturating_add(step) };
        self.absent < self.patience
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
        Watchdog { device, judge: Judge::new(now, patience.unwrap_or(PATIENCE)), next: now, starving: false }
    }

    /// Has it fed by a thread of its own while PID 1 is busy with one long step: opening an encrypted disk, the last steps of the machine.
    /// Until the answer is dropped, and for five minutes at most: it stays armed, and bites when the step hangs. Nothing without a device.
    pub fn feed_meanwhile(&self, journal: &mut Journal) -> Feeding {
        let (hold, done) = mpsc::channel();
        let every = Duration::from_millis(FEED_EVERY);
        let device = self.device.as_ref().map(File::try_clone);
        let started = device.map(|device| {
            device.and_then(|device| thread::Builder::new().spawn(move || keep_feeding(device, &done, every)))
        });
        let thread = match started {
            Some(Ok(thread)) => Some(thread),
            Some(Err(err)) => {
                journal.failed("feeding the watchdog meanwhile", &err);
                None
            }
            None => None,
        };
        Feeding { hold: Some(hold), thread }
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

/// The watchdog is fed until this is dropped. PID 1 has one thread again then: it forks.
#[derive(Debug)]
pub struct Feeding {
    hold: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Feeding {
    fn drop(&mut self) {
        drop(self.hold.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn keep_feeding(mut device: impl Write, done: &Receiver<()>, every: Duration) {
    for _ in 0..LONGEST_WORK / FEED_EVERY {
        let _ = device.write_all(b".");
        if done.recv_timeout(every) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

/// When the node agent touched its note last.
fn last_sign() -> Option<SystemTime> {
    fs::metadata(ALIVE_PATH).and_then(|note| note.modified()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge() -> Judge {
        Judge::new(0, PATIENCE)
    }

    fn sign(second: u64) -> Option<SystemTime> {
        Some(SystemTime::UNIX_EPOCH + Duration::from_secs(second))
    }

    /// The last answer of looks as often as PID 1 has them, after `from` and up to `until`.
    fn looks(judge: &mut Judge, from: Millis, until: Millis, agent: Agent, sign: Option<SystemTime>) -> bool {
        let mut fed = true;
        let mut now = from;
        while now < until {
            now = until.min(now + FEED_EVERY);
            fed = judge.feed(now, agent, sign);
        }
        fed
    }

    #[test]
    fn it_is_fed_while_the_node_agent_lives_and_some_time_longer() {
        let mut judge = judge();
        assert!(judge.feed(0, Agent::Running, sign(1)));
        assert!(looks(&mut judge, 0, PATIENCE - 1, Agent::Away, sign(1)));
        assert!(!judge.feed(PATIENCE, Agent::Away, sign(1)));
        assert!(judge.feed(PATIENCE + 5, Agent::Running, sign(2)));
        assert!(judge.feed(PATIENCE + 6, Agent::Away, sign(2)));
        assert!(looks(&mut judge, PATIENCE + 6, 9 * PATIENCE, Agent::Unwanted, None), "a machine without a config");
    }

    #[test]
    fn an_agent_that_is_there_and_gives_no_new_sign_of_life_is_none() {
        let mut judge = judge();
        assert!(judge.feed(10, Agent::Running, sign(500)));
        // The clock was set back: another time is a sign all the same.
        assert!(judge.feed(20, Agent::Running, sign(3)));
        assert!(looks(&mut judge, 20, PATIENCE + 19, Agent::Running, sign(3)));
        assert!(!judge.feed(PATIENCE + 20, Agent::Running, sign(3)));
        let mut silent = self::judge();
        assert!(looks(&mut silent, 0, PATIENCE - 1, Agent::Running, None));
        assert!(!silent.feed(PATIENCE, Agent::Running, None), "it never gave one");
    }

    #[test]
    fn a_machine_that_stood_still_charges_nothing_of_that_to_its_agent() {
        let mut judge = judge();
        assert!(judge.feed(0, Agent::Running, sign(1)));
        // An hour later nobody else has had a turn yet.
        assert!(judge.feed(3_600_000, Agent::Running, sign(1)));
        assert!(judge.feed(3_600_000 + FEED_EVERY, Agent::Running, sign(2)));
        assert!(!looks(&mut judge, 3_600_000 + FEED_EVERY, 3_600_000 + PATIENCE + FEED_EVERY, Agent::Running, sign(2)));
    }

    #[test]
    fn an_agent_that_ends_soon_after_each_start_stays_away() {
        let running = Some(State::Running { pid: 7, since: 1000 });
        let table = [
            (None, 9_000, Agent::Unwanted),
            (running, 1000 + FLEETING - 1, Agent::Away),
            (running, 1000 + FLEETING, Agent::Running),
            (Some(State::Waiting { until: 5 }), 9_000, Agent::Away),
            (Some(State::Stopping { pid: 7, kill_at: 5 }), 9_000, Agent::Away),
        ];
        for (state, now, wanted) in table {
            assert_eq!(Agent::of(state, now), wanted, "{state:?}");
        }
        let mut judge = judge();
        let mut fed = true;
        for round in 0..PATIENCE / FEED_EVERY {
            // It touches its note each time, and ends.
            fed = judge.feed((round + 1) * FEED_EVERY, Agent::Away, sign(round));
        }
        assert!(!fed);
    }

    #[test]
    fn a_long_step_is_fed_until_it_is_done_and_not_for_ever() {
        let (hold, done) = mpsc::channel();
        let mut fed: Vec<u8> = Vec::new();
        keep_feeding(&mut fed, &done, Duration::ZERO);
        assert_eq!(fed.len() as u64, LONGEST_WORK / FEED_EVERY);
        fed.clear();
        drop(hold);
        keep_feeding(&mut fed, &done, Duration::from_secs(60));
        assert_eq!(fed, b".");
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

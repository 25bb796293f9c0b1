//! Services that are kept running.

use crate::{Backoff, Millis};

/// First delay before a restart. Short: a node without its kubelet serves nobody.
const FIRST_DELAY: Millis = 250;
/// Longest delay before a restart.
const MOST_DELAY: Millis = 30_000;
/// A service that ran this long was healthy; its next restart is quick again.
const HEALTHY_AFTER: Millis = 60_000;

/// What is known of a service before it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Service {
    /// Unique name.
    pub name: &'static str,
    /// How long it may take to stop before it is killed.
    pub stop_grace: Millis,
}

/// Where a service is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// A start was ordered; its outcome is not known yet.
    Starting,
    /// It runs.
    Running {
        /// Process id.
        pid: i32,
        /// Since when.
        since: Millis,
    },
    /// It will be started again.
    Waiting {
        /// When.
        until: Millis,
    },
    /// It was told to stop.
    Stopping {
        /// Process id.
        pid: i32,
        /// When it will be killed.
        kill_at: Millis,
    },
    /// It was killed and not reaped yet.
    Killed {
        /// Process id.
        pid: i32,
    },
    /// It is down and stays so.
    Stopped,
}

impl State {
    /// The process, while there is one.
    pub fn pid(self) -> Option<i32> {
        match self {
            State::Running { pid, .. } | State::Stopping { pid, .. } | State::Killed { pid } => Some(pid),
            State::Starting | State::Waiting { .. } | State::Stopped => None,
        }
    }
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// A service is wanted from now on.
    Enable(Service),
    /// An ordered start worked.
    Started {
        /// The service.
        name: &'a str,
        /// Its process.
        pid: i32,
    },
    /// An ordered start did not work.
    StartFailed {
        /// The service.
        name: &'a str,
    },
    /// A process was reaped; it may be nobody's.
    Exited {
        /// The process.
        pid: i32,
    },
    /// A service is not wanted any more.
    Stop {
        /// The service.
        name: &'a str,
    },
    /// A service is to be restarted; one that waits or is held starts at once.
    Restart {
        /// The service.
        name: &'a str,
    },
    /// Time passed.
    Tick,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Start this service; answer with [`Event::Started`] or [`Event::StartFailed`].
    Start(&'static str),
    /// Ask the process to end.
    Terminate(i32),
    /// End the process.
    Kill(i32),
    /// Nothing to do but tell: this service will start again after this delay.
    RestartIn(&'static str, Millis),
}

#[derive(Debug)]
struct Entry {
    service: Service,
    state: State,
    backoff: Backoff,
    /// It starts again as soon as it has ended.
    again: bool,
}

/// All services and their states.
#[derive(Debug, Default)]
pub struct Supervisor {
    entries: Vec<Entry>,
}

impl Supervisor {
    /// Takes note of an event and returns what is due by now.
    pub fn handle(&mut self, now: Millis, event: Event<'_>) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Enable(service) => self.enable(service, &mut actions),
            Event::Started { name, pid } => self.started(now, name, pid, &mut actions),
            Event::StartFailed { name } => {
                if let Some(entry) = self.find(name).filter(|entry| entry.state == State::Starting) {
                    entry.wait(now, &mut actions);
                }
            }
            Event::Exited { pid } => self.exited(now, pid, &mut actions),
            Event::Stop { name } => self.stop(now, name, &mut actions),
            Event::Restart { name } => self.restart(now, name, &mut actions),
            Event::Tick => {}
        }
        self.due(now, &mut actions);
        actions
    }

    /// When [`Supervisor::handle`] must be called again at the latest.
    pub fn next_deadline(&self) -> Option<Millis> {
        self.entries
            .iter()
            .filter_map(|entry| match entry.state {
                State::Waiting { until } => Some(until),
                State::Stopping { kill_at, .. } => Some(kill_at),
                _ => None,
            })
            .min()
    }

    /// The state of a service; `None` when it was never enabled.
    pub fn state(&self, name: &str) -> Option<State> {
        self.entries.iter().find(|entry| entry.service.name == name).map(|entry| entry.state)
    }

    /// The service that a process belongs to.
    pub fn service_of(&self, pid: i32) -> Option<&'static str> {
        self.entries.iter().find(|entry| entry.state.pid() == Some(pid)).map(|entry| entry.service.name)
    }

    /// Names of all services that were ever enabled, in that order.
    pub fn names(&self) -> Vec<&'static str> {
        self.entries.iter().map(|entry| entry.service.name).collect()
    }

    fn find(&mut self, name: &str) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.service.name == name)
    }

    fn enable(&mut self, service: Service, actions: &mut Vec<Action>) {
        if self.find(service.name).is_none() {
            let backoff = Backoff::new(FIRST_DELAY, MOST_DELAY);
            self.entries.push(Entry { service, state: State::Starting, backoff, again: false });
            actions.push(Action::Start(service.name));
        }
    }

    fn started(&mut self, now: Millis, name: &str, pid: i32, actions: &mut Vec<Action>) {
        let Some(entry) = self.find(name) else { return };
        if entry.state == State::Starting {
            entry.state = State::Running { pid, since: now };
        } else {
            // Stopped while it was being started.
            entry.state = State::Stopping { pid, kill_at: now + entry.service.stop_grace };
            actions.push(Action::Terminate(pid));
        }
    }

    fn exited(&mut self, now: Millis, pid: i32, actions: &mut Vec<Action>) {
        let Some(entry) = self.entries.iter_mut().find(|entry| entry.state.pid() == Some(pid)) else { return };
        match entry.state {
            State::Running { since, .. } => {
                if now.saturating_sub(since) >= HEALTHY_AFTER {
                    entry.backoff.reset();
                }
                entry.wait(now, actions);
            }
            _ if std::mem::take(&mut entry.again) => entry.state = State::Waiting { until: now },
            _ => entry.state = State::Stopped,
        }
    }

    fn restart(&mut self, now: Millis, name: &str, actions: &mut Vec<Action>) {
        let Some(entry) = self.find(name) else { return };
        entry.backoff.reset();
        match entry.state {
            State::Running { .. } => {
                self.stop(now, name, actions);
                if let Some(entry) = self.find(name) {
                    entry.again = true;
                }
            }
            State::Stopping { .. } | State::Killed { .. } => entry.again = true,
            State::Waiting { .. } | State::Stopped => entry.state = State::Waiting { until: now },
            State::Starting => {}
        }
    }

    fn stop(&mut self, now: Millis, name: &str, actions: &mut Vec<Action>) {
        let Some(entry) = self.find(name) else { return };
        entry.again = false;
        match entry.state {
            State::Running { pid, .. } => {
                entry.state = State::Stopping { pid, kill_at: now + entry.service.stop_grace };
                actions.push(Action::Terminate(pid));
            }
            State::Starting | State::Waiting { .. } => entry.state = State::Stopped,
            State::Stopping { .. } | State::Killed { .. } | State::Stopped => {}
        }
    }

    fn due(&mut self, now: Millis, actions: &mut Vec<Action>) {
        for entry in &mut self.entries {
            match entry.state {
                State::Waiting { until } if until <= now => {
                    entry.state = State::Starting;
                    actions.push(Action::Start(entry.service.name));
                }
                State::Stopping { pid, kill_at } if kill_at <= now => {
                    entry.state = State::Killed { pid };
                    actions.push(Action::Kill(pid));
                }
                _ => {}
            }
        }
    }
}

impl Entry {
    fn wait(&mut self, now: Millis, actions: &mut Vec<Action>) {
        let delay = self.backoff.take();
        self.state = State::Waiting { until: now + delay };
        actions.push(Action::RestartIn(self.service.name, delay));
    }
}

//! The loop of PID 1: one thread, woken by signals, keys, log lines and deadlines.

use crate::adopt::Trial;
use crate::clock::WallClock;
use crate::console::{Journal, chain};
use crate::control::Control;
use crate::going_down::GoingDown;
use crate::integrity::Integrity;
use crate::logs::ServiceLog;
use crate::page::Page;
use crate::services::{self, CONTROL, NODE};
use crate::slots::Slots;
use crate::storage::Storage;
use crate::watchdog::{Agent, Watchdog};
use rk_config::MachineConfig;
use rk_supervise::{Action, Backoff, Event, Millis, Supervisor};
use rk_sys::{End, Signal, SignalQueue};
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

/// Orphans reaped in one turn; a hundred thousand must not keep services from being heard.
const MOST_REAPS: usize = 512;
/// First and longest time between looks for a machine config.
const LOOK_AGAIN: (Millis, Millis) = (5_000, 30_000);

/// What the kernel command line says about PID 1.
#[derive(Debug)]
pub struct Settings {
    /// `rk.log=`: a filter for the services' own logs.
    pub log_filter: Option<String>,
    /// `rk.debug`: all that services print goes to the console.
    pub debug: bool,
    /// `rk.maintenance=off`: a node without a config stays closed.
    pub no_maintenance: bool,
    /// `rk.watchdog=`: how long the node agent may be away before the watchdog bites; `None` when it is off.
    pub watchdog: Option<Millis>,
    /// How long a slot on trial has.
    pub trial_limit: Millis,
    /// Where logs go.
    pub log_dir: PathBuf,
    /// Identity of this machine.
    pub machine_id: String,
    /// The whole line.
    pub cmdline: String,
}

/// What is remembered of a service beside its state.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) name: &'static str,
    pub(crate) starts: u32,
    pub(crate) last_exit: String,
}

/// Everything that PID 1 keeps.
#[derive(Debug)]
pub struct Machine {
    pub(crate) journal: Journal,
    pub(crate) supervisor: Supervisor,
    pub(crate) logs: Vec<ServiceLog>,
    pub(crate) control: Option<Control>,
    pub(crate) records: Vec<Record>,
    pub(crate) settings: Settings,
    pub(crate) config: Option<Box<MachineConfig>>,
    /// What the image brought, until it is kept.
    pub(crate) built_in: Option<Box<MachineConfig>>,
    pub(crate) source: String,
    pub(crate) trial: Option<Trial>,
    pub(crate) look: Look,
    pub(crate) slots: Option<Slots>,
    pub(crate) storage: Storage,
    pub(crate) integrity: Integrity,
    signals: SignalQueue,
    keys: Vec<File>,
    pub(crate) watchdog: Watchdog,
    clock: WallClock,
    page: Page,
    more_to_reap: bool,
    down: Option<GoingDown>,
}

/// When to look for a config again.
#[derive(Debug)]
pub(crate) struct Look {
    pub(crate) at: Millis,
    pub(crate) backoff: Backoff,
    pub(crate) said: Vec<String>,
}

impl Machine {
    /// A machine without a config.
    pub fn new(
        mut journal: Journal,
        signals: SignalQueue,
        settings: Settings,
        slots: Option<Slots>,
        storage: Storage,
    ) -> Machine {
        let now = rk_sys::boot_millis();
        Machine {
            control: Control::open(&mut journal),
            watchdog: Watchdog::open(&mut journal, now, settings.watchdog),
            journal,
            supervisor: Supervisor::default(),
            logs: Vec::new(),
            records: Vec::new(),
            settings,
            config: None,
            built_in: None,
            source: String::new(),
            trial: None,
            slots,
            storage,
            integrity: Integrity::new(),
            look: Look { at: 0, backoff: Backoff::new(LOOK_AGAIN.0, LOOK_AGAIN.1), said: Vec::new() },
            signals,
            keys: rk_sys::open_input_devices(),
            clock: WallClock::default(),
            page: Page::default(),
            more_to_reap: false,
            down: None,
        }
    }

    /// Whether it has no config.
    pub(crate) fn in_maintenance(&self) -> bool {
        self.config.is_none()
    }

    /// Whether the way down has begun.
    pub(crate) fn is_going_down(&self) -> bool {
        self.down.is_some()
    }

    /// How it will end, once that has begun.
    pub(crate) fn end_word(&self) -> Option<&'static str> {
        self.down.as_ref().map(GoingDown::word)
    }

    /// Runs until the machine ends; returns only the reason why it could not be ended.
    pub fn run(mut self) -> rk_sys::SysError {
        loop {
            let now = rk_sys::boot_millis();
            self.look_for_config(now);
            self.reap(now);
            self.end_trial(now);
            self.check_root(now);
            self.judge_slot(now);
            self.handle(now, Event::Tick);
            self.keep_up(now);
            if let Some(mut down) = self.down.take() {
                if let Some(failure) = down.advance(now, &mut self) {
                    return failure;
                }
                self.down = Some(down);
            }
            self.wait(now);
        }
    }

    fn wait(&mut self, now: Millis) {
        let mut fds = vec![self.signals.as_fd()];
        fds.extend(self.logs.iter().map(AsFd::as_fd));
        fds.extend(self.keys.iter().map(AsFd::as_fd));
        fds.extend(self.control.iter().map(AsFd::as_fd));
        let ready = match rk_sys::wait_readable(&fds, self.patience(now)) {
            Ok(ready) => ready,
            Err(err) => {
                self.journal.failed("waiting", &err);
                // Without this a broken descriptor would make PID 1 spin.
                std::thread::sleep(Duration::from_millis(100));
                return;
            }
        };
        let now = rk_sys::boot_millis();
        let keys_at = 1 + self.logs.len();
        let control_at = keys_at + self.keys.len();
        for (i, log) in self.logs.iter_mut().enumerate() {
            if ready.is(1 + i) {
                log.drain(now);
            }
        }
        for i in (0..self.keys.len()).rev() {
            if ready.is(keys_at + i) {
                self.hear_key(i);
            }
        }
        if ready.is(control_at) {
            self.hear_control(now);
        }
        if ready.is(0) {
            self.hear_signals();
        }
    }

    /// What is done again and again: the watchdog and the status page.
    fn keep_up(&mut self, now: Millis) {
        // A machine on its way down is fed to its end: every phase of that has a deadline of its own.
        let agent = Agent::of(self.supervisor.state(NODE).filter(|_| self.down.is_none()), now);
        self.watchdog.tick(&mut self.journal, now, agent);
        if let Some(step) = self.clock.stepped(now).filter(|_| self.down.is_none()) {
            self.redate(now, step);
        }
        let role = self.config.as_deref().map(|config| config.role);
        self.page.tick(now, role, &self.journal);
    }

    /// Certificates were made and judged by a clock that was wrong: who did so starts anew. Containers run on.
    fn redate(&mut self, now: Millis, step: i64) {
        for name in [CONTROL, NODE] {
            if self.supervisor.state(name).is_some_and(|state| state.pid().is_some()) {
                self.journal.say(format_args!("{name} starts anew: the clock was moved by {step} s"));
                self.handle(now, Event::Restart { name });
            }
        }
    }

    /// How long nothing may happen before something is due.
    fn patience(&self, now: Millis) -> Option<Duration> {
        if self.more_to_reap {
            return Some(Duration::ZERO);
        }
        let look = self.config.is_none().then_some(self.look.at);
        let down = self.down.as_ref().and_then(|down| down.next_look(now));
        let slot = [self.next_judgement(now), self.integrity.next()];
        let own = [self.trial_end(), self.watchdog.next(), self.page.next()].into_iter().chain(slot);
        let due = [self.supervisor.next_deadline(), look, down].into_iter().chain(own).flatten().min()?;
        Some(Duration::from_millis(due.saturating_sub(now)))
    }

    fn hear_signals(&mut self) {
        loop {
            match self.signals.take() {
                // SIGCHLD is news enough: every turn reaps.
                Ok(Some(Signal::Child | Signal::HangUp | Signal::Kill)) => {}
                Ok(Some(Signal::Terminate | Signal::User1)) => self.begin_end(End::PowerOff, "a signal"),
                Ok(Some(Signal::User2)) => self.begin_end(End::Reboot, "a signal"),
                Ok(Some(Signal::Interrupt)) => self.begin_end(End::Reboot, "ctrl-alt-del"),
                Ok(None) => return,
                Err(err) => return self.journal.failed("hearing signals", &err),
            }
        }
    }

    fn hear_key(&mut self, position: usize) {
        let mut buffer = [0; 24 * 64];
        let Some(device) = self.keys.get_mut(position) else { return };
        match device.read(&mut buffer) {
            Ok(size) if size > 0 => {
                let presses = rk_sys::decode_key_presses(buffer.get(..size).unwrap_or_default());
                if presses.iter().any(|press| press.code == rk_sys::KEY_POWER) {
                    self.begin_end(End::PowerOff, "the power button");
                }
            }
            Err(err) if err.kind() == std::io::ErrorKind::WouldBlock => {}
            // Unplugged: a dead descriptor is always ready and would make PID 1 spin.
            _ => drop(self.keys.remove(position)),
        }
    }

    /// Starts the way down once; whoever asks later is told that it is under way.
    pub(crate) fn begin_end(&mut self, end: End, why: &str) {
        if self.down.is_some() {
            self.journal.say(format_args!("{why} asks for the end, which is under way"));
            return;
        }
        self.down = Some(GoingDown::begin(&mut self.journal, end, why, self.config.as_deref()));
    }

    fn reap(&mut self, now: Millis) {
        self.more_to_reap = true;
        for _ in 0..MOST_REAPS {
            match rk_sys::reap_one() {
                Ok(Some((pid, exit))) => {
                    if let Some(name) = self.supervisor.service_of(pid) {
                        self.journal.say(format_args!("{name} exited {exit}"));
                        self.note(name, |record| record.last_exit = exit.to_string());
                    }
                    self.handle(now, Event::Exited { pid });
                }
                Ok(None) => {
                    self.more_to_reap = false;
                    return;
                }
                Err(err) => {
                    self.more_to_reap = false;
                    return self.journal.failed("reaping", &err);
                }
            }
        }
    }

    /// Tells the supervisor and does what it says.
    pub(crate) fn handle(&mut self, now: Millis, event: Event<'_>) {
        let mut actions = self.supervisor.handle(now, event);
        while let Some(action) = actions.pop() {
            match action {
                Action::Start(name) => actions.extend(self.start(now, name)),
                Action::Terminate(pid) => {
                    self.journal.check("stopping a service", rk_sys::kill(pid, Signal::Terminate))
                }
                Action::Kill(pid) => {
                    let name = self.supervisor.service_of(pid).unwrap_or("a service");
                    self.journal.say(format_args!("{name} did not stop in time and is killed"));
                    self.journal.check("killing a service", rk_sys::kill(pid, Signal::Kill));
                }
                Action::RestartIn(name, delay) => self.journal.say(format_args!("{name} restarts in {delay} ms")),
            }
        }
    }

    fn start(&mut self, now: Millis, name: &'static str) -> Vec<Action> {
        if !self.logs.iter().any(|log| log.name() == name) {
            match ServiceLog::open(name, &self.settings.log_dir, self.settings.debug) {
                Ok(log) => self.logs.push(log),
                Err(err) => self.journal.failed("opening a service's log", &err),
            }
        }
        let Some(log) = self.logs.iter().find(|log| log.name() == name) else {
            return self.supervisor.handle(now, Event::StartFailed { name });
        };
        match services::start(name, self.config.as_deref(), self.settings.log_filter.as_deref(), log.writer()) {
            Ok(child) => {
                self.journal.say(format_args!("{name} started pid={}", child.pid));
                self.note(name, |record| record.starts += 1);
                self.supervisor.handle(now, Event::Started { name, pid: child.pid })
            }
            Err(err) => {
                self.journal.say(format_args!("{name} cannot start: {}", chain(&err)));
                self.supervisor.handle(now, Event::StartFailed { name })
            }
        }
    }

    /// Changes what is remembered of a service.
    fn note(&mut self, name: &'static str, change: impl FnMut(&mut Record)) {
        if !self.records.iter().any(|record| record.name == name) {
            self.records.push(Record { name, starts: 0, last_exit: String::new() });
        }
        self.records.iter_mut().filter(|record| record.name == name).take(1).for_each(change);
    }
}

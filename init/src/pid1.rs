//! The loop of PID 1: one thread, woken by signals, keys, log lines and deadlines.

use crate::console::{Journal, chain};
use crate::discover::{self, Found};
use crate::going_down::GoingDown;
use crate::logs::ServiceLog;
use crate::{etc, services};
use rk_config::{ACCEPTED_PATH, MachineConfig};
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
    /// Where logs go.
    pub log_dir: PathBuf,
    /// Identity of this machine.
    pub machine_id: String,
    /// The whole line.
    pub cmdline: String,
}

/// Everything that PID 1 keeps.
#[derive(Debug)]
pub struct Machine {
    pub(crate) journal: Journal,
    pub(crate) supervisor: Supervisor,
    pub(crate) logs: Vec<ServiceLog>,
    signals: SignalQueue,
    keys: Vec<File>,
    settings: Settings,
    config: Option<Box<MachineConfig>>,
    look: Look,
    more_to_reap: bool,
    down: Option<GoingDown>,
}

#[derive(Debug)]
struct Look {
    at: Millis,
    backoff: Backoff,
    said: Vec<String>,
}

impl Machine {
    /// A machine without a config.
    pub fn new(journal: Journal, signals: SignalQueue, settings: Settings) -> Machine {
        Machine {
            journal,
            supervisor: Supervisor::default(),
            logs: Vec::new(),
            signals,
            keys: rk_sys::open_input_devices(),
            settings,
            config: None,
            look: Look { at: 0, backoff: Backoff::new(LOOK_AGAIN.0, LOOK_AGAIN.1), said: Vec::new() },
            more_to_reap: false,
            down: None,
        }
    }

    /// Runs until the machine ends; returns only the reason why it could not be ended.
    pub fn run(mut self) -> rk_sys::SysError {
        loop {
            let now = rk_sys::boot_millis();
            self.look_for_config(now);
            self.reap(now);
            self.handle(now, Event::Tick);
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
        if ready.is(0) {
            self.hear_signals();
        }
    }

    /// How long nothing may happen before something is due.
    fn patience(&self, now: Millis) -> Option<Duration> {
        if self.more_to_reap {
            return Some(Duration::ZERO);
        }
        let look = self.config.is_none().then_some(self.look.at);
        let down = self.down.as_ref().and_then(|down| down.next_look(now));
        let due = [self.supervisor.next_deadline(), look, down].into_iter().flatten().min()?;
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
        let Some(config) = self.config.as_deref() else {
            return self.supervisor.handle(now, Event::StartFailed { name });
        };
        if !self.logs.iter().any(|log| log.name() == name) {
            match ServiceLog::open(name, &self.settings.log_dir, self.settings.debug) {
                Ok(log) => self.logs.push(log),
                Err(err) => self.journal.failed("opening a service's log", &err),
            }
        }
        let Some(log) = self.logs.iter().find(|log| log.name() == name) else {
            return self.supervisor.handle(now, Event::StartFailed { name });
        };
        match services::start(name, config, self.settings.log_filter.as_deref(), log.writer()) {
            Ok(child) => {
                self.journal.say(format_args!("{name} started pid={}", child.pid));
                self.supervisor.handle(now, Event::Started { name, pid: child.pid })
            }
            Err(err) => {
                self.journal.say(format_args!("{name} cannot start: {}", chain(&err)));
                self.supervisor.handle(now, Event::StartFailed { name })
            }
        }
    }

    fn look_for_config(&mut self, now: Millis) {
        if self.config.is_some() || self.down.is_some() || now < self.look.at {
            return;
        }
        self.look.at = now + self.look.backoff.take();
        match discover::look(&mut self.journal, &self.settings.cmdline) {
            Found::Accepted { source, config, unknown } => {
                for key in unknown {
                    self.journal.say(format_args!("config key {key} is unknown and has no effect"));
                }
                self.accept(now, &source.to_string(), config);
            }
            Found::Refused(lines) => {
                if lines != self.look.said {
                    for line in &lines {
                        self.journal.say(line);
                    }
                    self.journal.say("the node waits for a good machine config and keeps looking");
                    self.look.said = lines;
                }
            }
        }
    }

    fn accept(&mut self, now: Millis, source: &str, config: Box<MachineConfig>) {
        if let Err(err) = rk_config::save_accepted(&config, ACCEPTED_PATH) {
            // Services would not know their config: stay, and try again as after a refusal.
            return self.journal.failed("saving the accepted config", &err);
        }
        let id = self.settings.machine_id.get(..8).unwrap_or("node");
        let hostname = config.hostname.clone().unwrap_or_else(|| format!("rk-{id}"));
        etc::name_machine(&mut self.journal, &hostname);
        services::place_authority(&mut self.journal, &config);
        self.journal.say(format_args!("config accepted from {source}: {hostname}, {:?}", config.role));
        let wanted = services::wanted(&config);
        self.config = Some(config);
        for service in wanted {
            self.handle(now, Event::Enable(service));
        }
    }
}

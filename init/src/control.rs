//! The local socket of PID 1: a few fixed words in, one answer out. See [`rk_supervise::control`].

use crate::console::Journal;
use crate::mounts::make_dir;
use crate::pid1::Machine;
use crate::services;
use crate::slots::Slots;
use crate::{adopt, reset, seed};
use rk_supervise::control::{MOST_REPLY, MOST_REQUEST, Request, SOCKET, ServiceStatus, Status};
use rk_supervise::{Event, Millis, State};
use rk_sys::End;
use std::fs::{self, Permissions};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

/// Requests answered in one turn.
const MOST_PER_TURN: usize = 8;
/// Only callers who can make a socket here are answered; the folder is root's.
const CALLERS: &str = "/run/rk/";

/// The socket; without one PID 1 goes on, and nobody manages it from outside.
#[derive(Debug)]
pub struct Control {
    socket: UnixDatagram,
}

impl Control {
    /// Opens it, for root alone.
    pub fn open(journal: &mut Journal) -> Option<Control> {
        make_dir(journal, "/run/rk", 0o755);
        let _ = fs::remove_file(SOCKET);
        let opened = UnixDatagram::bind(SOCKET).and_then(|socket| {
            // Nobody else runs yet, so that there is no moment in which others could send.
            fs::set_permissions(SOCKET, Permissions::from_mode(0o600))?;
            socket.set_nonblocking(true)?;
            Ok(Control { socket })
        });
        opened.map_err(|err| journal.failed("opening the control socket", &err)).ok()
    }

    /// The next request and where its answer goes.
    fn take(&self) -> Option<(Option<Request>, PathBuf)> {
        let mut buffer = [0; MOST_REQUEST + 1];
        let (size, from) = self.socket.recv_from(&mut buffer).ok()?;
        let from = from.as_pathname().map(Path::to_owned).unwrap_or_default();
        Some((buffer.get(..size).and_then(Request::parse), from))
    }

    fn answer(&self, to: &Path, answer: &Result<String, String>) {
        if !to.starts_with(CALLERS) {
            return;
        }
        let mut text = match answer {
            Ok(text) => format!("ok\n{text}"),
            Err(reason) => format!("error {}", reason.replace('\n', " ")),
        };
        let end = (0..=MOST_REPLY.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        // A caller who is gone needs no answer.
        let _ = self.socket.send_to(text.as_bytes(), to);
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Machine {
    /// Answers what came, up to a bound.
    pub(crate) fn hear_control(&mut self, now: Millis) {
        for _ in 0..MOST_PER_TURN {
            let Some((request, from)) = self.control.as_ref().and_then(Control::take) else { return };
            let answer = match request {
                Some(request) => self.obey(now, request),
                None => Err("PID 1 does not understand that".to_owned()),
            };
            if let Some(control) = &self.control {
                control.answer(&from, &answer);
            }
        }
    }

    fn obey(&mut self, now: Millis, request: Request) -> Result<String, String> {
        match &request {
            Request::Status => return Ok(self.status(now).encode()),
            Request::Events(after) => return Ok(self.journal.events().after(*after)),
            _ if self.is_going_down() => return Err("the machine is going down".to_owned()),
            Request::Apply | Request::Stage | Request::Try(_) | Request::Offer(_)
                if self.storage.locked.iter().any(|locked| locked.closed) =>
            {
                return Err(format!("{}; rkctl node unlock gives a passphrase", self.storage.words()));
            }
            _ => {}
        }
        let nothing = |()| String::new();
        match request {
            Request::Status | Request::Events(_) => Ok(String::new()),
            Request::Restart(name) => self.known(&name).map(|()| {
                self.journal.say(format_args!("{name} is restarted by the machine API"));
                self.handle(now, Event::Restart { name: &name });
                String::new()
            }),
            Request::Hold(name) => self.holdable(&name).map(|()| {
                self.journal.say(format_args!("{name} is held by the machine API"));
                self.handle(now, Event::Stop { name: &name });
                String::new()
            }),
            Request::Release(name) => self.holdable(&name).map(|()| {
                self.handle(now, Event::Restart { name: &name });
                String::new()
            }),
            Request::Apply => self.apply_offered(now).map(nothing),
            Request::Unlock => self.unlock(now).map(nothing),
            Request::Stage => self.stage_offered().map(nothing),
            Request::Try(seconds) => self.try_offered(now, seconds).map(nothing),
            Request::Confirm => self.confirm_trial().map(nothing),
            Request::Offer(source) => self.take_offer(now, &source).map(nothing),
            Request::Slots => self.slots(|_| Ok(())),
            Request::OpenSlots => self.slots(Slots::open),
            Request::CloseSlots => self.slots(Slots::close),
            Request::RollBack => self.slots(Slots::roll_back).inspect(|_| {
                self.journal.say("the other slot is on trial at the next start");
            }),
            Request::Reset(words) => reset::order(&words, self.has_passphrase()).map(|()| {
                self.begin_end(End::Reboot, &format!("the machine API, to reset {words}"));
                String::new()
            }),
            Request::Seed(disk) => {
                let _fed = self.watchdog.feed_meanwhile(&mut self.journal);
                adopt::offered().and_then(|config| seed::seed(&disk, &config)).map(|()| {
                    self.journal.say(format_args!("{disk} has a config of its own"));
                    String::new()
                })
            }
            Request::Reboot => {
                self.begin_end(End::Reboot, "the machine API");
                Ok(String::new())
            }
            Request::PowerOff => {
                self.begin_end(End::PowerOff, "the machine API");
                Ok(String::new())
            }
        }
    }

    /// Does something with the slots and tells how they lie then.
    fn slots(&mut self, work: impl FnOnce(&mut Slots) -> Result<(), String>) -> Result<String, String> {
        let Some(slots) = &mut self.slots else {
            return Err("this machine does not run from a disk with two slots; install it first".to_owned());
        };
        work(slots)?;
        Ok(slots.layout().encode())
    }

    fn known(&self, name: &str) -> Result<(), String> {
        let names = self.supervisor.names();
        if names.contains(&name) {
            return Ok(());
        }
        Err(format!("no service is named {name}; there are {}", names.join(", ")))
    }

    /// Only the control plane can be held: without the others the node could not be reached any more.
    fn holdable(&self, name: &str) -> Result<(), String> {
        self.known(name)?;
        if name == services::CONTROL { Ok(()) } else { Err(format!("{name} cannot be held, only restarted")) }
    }

    fn status(&self, now: Millis) -> Status {
        let services = self.supervisor.names().into_iter().map(|name| {
            let state = self.supervisor.state(name).unwrap_or(State::Stopped);
            let record = self.records.iter().find(|record| record.name == name);
            let uptime = match state {
                State::Running { since, .. } => now.saturating_sub(since),
                _ => 0,
            };
            ServiceStatus {
                name: name.to_owned(),
                state: word(state).to_owned(),
                pid: state.pid().unwrap_or(0),
                uptime_millis: uptime,
                starts: record.map_or(0, |record| record.starts),
                last_exit: record.map(|record| record.last_exit.clone()).unwrap_or_default(),
            }
        });
        Status {
            maintenance: self.in_maintenance(),
            source: self.source.clone(),
            reverts_in: self.trial_left(now),
            going_down: self.end_word().unwrap_or_default().to_owned(),
            services: services.collect(),
        }
    }
}

fn word(state: State) -> &'static str {
    match state {
        State::Starting => "starting",
        State::Running { .. } => "running",
        State::Waiting { .. } => "waiting",
        State::Stopping { .. } | State::Killed { .. } => "stopping",
        State::Stopped => "stopped",
    }
}

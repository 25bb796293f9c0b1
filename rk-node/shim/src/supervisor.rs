//! The shim's loop: one `poll` over the children's signal, the socket, its clients, workers' reports and containers' output.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rk_shim_protocol::{Exit, Reply, SandboxConfig};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{SocketFlags, accept_with};

use crate::client::Client;
use crate::console::Console;
use crate::container::Container;
use crate::worker::{self, Worker};
use crate::{clock, exits, scratch};

/// Connections at once: the CRI server holds one subscription and one per exec, attach or call under way.
const MAX_CLIENTS: usize = 512;

/// What a finished worker's result is for.
#[derive(Debug)]
pub enum Purpose {
    /// Start of a container; the console socket if it has a terminal.
    Start { container: String, console: Option<Console> },
    /// Exec for the client that asked; the console socket likewise.
    Exec { console: Option<Console>, size: Option<rk_shim_protocol::WindowSize> },
}

/// A worker under way and who waits for it.
#[derive(Debug)]
pub struct Job {
    /// The forked process and its pipe.
    pub worker: Worker,
    /// Whom to answer.
    pub client: u64,
    /// What with.
    pub purpose: Purpose,
}

/// All state of a shim.
pub struct Supervisor {
    /// The sandbox's directory.
    pub dir: PathBuf,
    /// What the sandbox is.
    pub config: SandboxConfig,
    listener: OwnedFd,
    signals: SignalFd,
    /// PID 1 of the shared PID namespace.
    pub pause: Option<Pid>,
    /// Containers by id, from start to removal.
    pub containers: BTreeMap<String, Container>,
    /// Connections by number.
    pub clients: BTreeMap<u64, Client>,
    next_client: u64,
    /// Workers under way.
    pub jobs: Vec<Job>,
    /// Clients that wait for the exit of an exec'd process, by its pid.
    pub execs: BTreeMap<i32, u64>,
    /// Exits of children whose worker has not reported yet; emptied when no worker is under way.
    pub early: BTreeMap<i32, Exit>,
    /// Number of the last console socket made.
    pub consoles: u64,
    /// Set by `Shutdown`.
    pub stopping: bool,
}

/// What a polled descriptor is.
#[derive(Debug, Clone)]
enum Source {
    Signals,
    Listener,
    Client(u64),
    Job(i32),
    Output(String, usize),
    Sink(String, usize, usize),
}

impl Supervisor {
    /// Blocks the signals that it polls for.
    pub fn new(dir: PathBuf, config: SandboxConfig, listener: OwnedFd, pause: Option<Pid>) -> Result<Self> {
        let mut polled = SigSet::empty();
        polled.add(Signal::SIGCHLD);
        // Only an explicit request or SIGKILL ends a shim: its pod must outlive whoever sends signals about.
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            polled.add(signal);
        }
        polled.thread_block().context("block signals")?;
        let signals =
            SignalFd::with_flags(&polled, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).context("signalfd")?;
        Ok(Self {
            dir,
            config,
            listener,
            signals,
            pause,
            containers: BTreeMap::new(),
            clients: BTreeMap::new(),
            next_client: 0,
            jobs: Vec::new(),
            execs: BTreeMap::new(),
            early: BTreeMap::new(),
            consoles: 0,
            stopping: false,
        })
    }

    /// Serves until a `Shutdown` was answered.
    pub fn run(&mut self) -> Result<()> {
        while !self.stopping {
            for (source, flags) in self.poll()? {
                self.handle(source, flags);
            }
        }
        Ok(())
    }

    fn poll(&self) -> Result<Vec<(Source, PollFlags)>> {
        let mut sources = vec![Source::Signals, Source::Listener];
        let mut fds = vec![readable(self.signals.as_fd()), readable(self.listener.as_fd())];
        for (number, client) in &self.clients {
            sources.push(Source::Client(*number));
            fds.push(PollFd::from_borrowed_fd(client.fd(), interest(true, client.lags())));
        }
        for job in &self.jobs {
            sources.push(Source::Job(job.worker.pid.as_raw()));
            fds.push(readable(job.worker.result.as_fd()));
        }
        for (id, container) in &self.containers {
            for (at, output) in container.outputs.iter().enumerate() {
                sources.push(Source::Output(id.clone(), at));
                fds.push(readable(output.fd()));
                for (nth, sink) in output.sinks.iter().enumerate() {
                    sources.push(Source::Sink(id.clone(), at, nth));
                    fds.push(PollFd::from_borrowed_fd(sink.fd(), interest(false, sink.lags())));
                }
            }
        }
        match poll(&mut fds, None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(Vec::new()),
            Err(error) => return Err(error).context("poll"),
        }
        let ready = sources.into_iter().zip(fds.iter().map(PollFd::revents));
        // Later positions first, so that removing one stream does not shift another's place.
        let mut ready: Vec<_> = ready.filter(|(_, flags)| !flags.is_empty()).collect();
        ready.reverse();
        Ok(ready)
    }

    fn handle(&mut self, source: Source, flags: PollFlags) {
        match source {
            Source::Signals => {
                while matches!(self.signals.read_signal(), Ok(Some(_))) {}
                self.reap();
            }
            Source::Listener => self.accept(),
            Source::Client(number) => self.serve(number, flags),
            Source::Job(pid) => self.finish(pid),
            Source::Output(id, at) => {
                if let Some(container) = self.containers.get_mut(&id) {
                    container.pump(at);
                }
            }
            Source::Sink(id, at, nth) => {
                let gone = flags.intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL);
                if let Some(output) = self.containers.get_mut(&id).and_then(|c| c.outputs.get_mut(at))
                    && let Some(sink) = output.sinks.get_mut(nth)
                    && (gone || !sink.flush())
                {
                    output.sinks.remove(nth);
                }
            }
        }
    }

    fn accept(&mut self) {
        while let Ok(socket) = accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            if self.clients.len() < MAX_CLIENTS {
                self.next_client += 1;
                self.clients.insert(self.next_client, Client::new(socket));
            }
        }
    }

    fn serve(&mut self, number: u64, flags: PollFlags) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        let mut alive = client.flush();
        if flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            alive &= client.read().unwrap_or(false);
        }
        loop {
            match self.clients.get_mut(&number).map(Client::request) {
                Some(Ok(Some(request))) => self.request(number, request),
                Some(Err(_)) => {
                    alive = false;
                    break;
                }
                _ => break,
            }
        }
        if !alive {
            self.clients.remove(&number);
        }
    }

    /// Answers a client that may have gone meanwhile.
    pub fn answer(&mut self, number: u64, reply: &Reply, fd: Option<OwnedFd>) {
        if let Some(client) = self.clients.get_mut(&number)
            && !client.send(reply, fd)
        {
            self.clients.remove(&number);
        }
    }

    /// Takes every child that ended.
    pub fn reap(&mut self) {
        loop {
            let (pid, code, signal) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid.as_raw(), code, 0),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid.as_raw(), 128 + signal as i32, signal as i32),
                Ok(WaitStatus::StillAlive) | Err(_) => break,
                Ok(_) => continue,
            };
            self.child_ended(pid, Exit { code, signal, finished_at: clock::now_ns(), oom_killed: false });
        }
    }

    /// A child of ours ended: a container, an exec'd process, a worker or an orphan.
    pub fn child_ended(&mut self, pid: i32, exit: Exit) {
        if let Some(container) = self.containers.values_mut().find(|c| c.running() && c.pid == pid) {
            let id = container.id.clone();
            let exit = container.ended(exit);
            // If the disk is full the event still tells those who listen; the shim's own memory tells those who come later.
            let _ = exits::write(&self.dir, &id, &exit);
            self.publish(&Reply::Exited { container: id, exit });
        } else if let Some(client) = self.execs.remove(&pid) {
            self.answer(client, &Reply::ExecExited(exit), None);
        } else if !self.jobs.is_empty() {
            self.early.insert(pid, exit);
        }
    }

    fn publish(&mut self, reply: &Reply) {
        self.clients.retain(|_, client| !client.subscribed || client.send(reply, None));
    }

    fn finish(&mut self, pid: i32) {
        let Some(at) = self.jobs.iter().position(|job| job.worker.pid.as_raw() == pid) else { return };
        let Some(Ok(result)) = self.jobs.get(at).map(|job| job.worker.result.try_clone()) else { return };
        let outcome = worker::outcome(result);
        // While the job is listed, the exit of a process that ended already is kept for it.
        self.reap();
        let job = self.jobs.remove(at);
        if matches!(job.purpose, Purpose::Exec { .. }) {
            scratch::remove(&self.dir, job.worker.pid);
        }
        self.finished(job.client, job.purpose, outcome);
        if self.jobs.is_empty() {
            self.early.clear();
        }
    }
}

fn readable(fd: BorrowedFd<'_>) -> PollFd<'_> {
    PollFd::from_borrowed_fd(fd, PollFlags::IN)
}

fn interest(read: bool, write: bool) -> PollFlags {
    let mut flags = PollFlags::empty();
    flags.set(PollFlags::IN, read);
    flags.set(PollFlags::OUT, write);
    flags
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    impl Supervisor {
        /// One of a sandbox without namespaces, in `dir`.
        pub(crate) fn of_test(dir: &Path) -> Self {
            let listener = crate::daemon::listen_at(&dir.join("s"), 1).unwrap();
            Self::new(dir.to_owned(), SandboxConfig::default(), listener, None).unwrap()
        }
    }

    #[test]
    fn what_a_killed_worker_left_goes_when_it_is_known_to_have_ended() {
        let _alone = crate::PROGRAMS.lock();
        let dir = tempfile::tempdir().unwrap();
        let mut supervisor = Supervisor::of_test(dir.path());
        let left = scratch::make(dir.path(), "c").unwrap();
        // The end of a worker that says nothing.
        let (result, _) = rustix::pipe::pipe().unwrap();
        let worker = Worker { pid: Pid::this(), result };
        supervisor.jobs.push(Job { worker, client: 0, purpose: Purpose::Exec { console: None, size: None } });
        supervisor.finish(Pid::this().as_raw());
        assert!(supervisor.jobs.is_empty() && !left.exists());
    }
}

//! What each request does.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rk_shim_protocol::{
    Failure, FailureKind, Process, Reply, Request, StartContainer, WindowSize, container_dir, exit_file,
};
use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::attach::Sink;
use crate::console::Console;
use crate::container::Container;
use crate::launch::{self, Stdio};
use crate::logfile::LogFile;
use crate::output::Output;
use crate::supervisor::{Job, Purpose, Supervisor};
use crate::worker::{self, Outcome};
use crate::{cgroup, clock, daemon};

/// How long `Shutdown` waits for killed processes to be gone.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(10);

impl Supervisor {
    /// Carries out one request of client `number`.
    pub fn request(&mut self, number: u64, request: Request) {
        let reply = match request {
            Request::Start(start) => self.start(number, start),
            Request::Exec(process) => self.exec(number, *process),
            Request::Attach { container } => return self.attach(number, &container),
            Request::Subscribe => {
                if let Some(client) = self.clients.get_mut(&number) {
                    client.subscribed = true;
                }
                Some(Reply::State { containers: self.containers.values().map(Container::state).collect() })
            }
            Request::Signal { container, signal, all } => Some(self.signal(&container, signal, all)),
            Request::KillExec { pid } => Some(self.kill_exec(pid)),
            Request::StdinEnded { container } => Some(self.with(&container, |c| {
                if c.stdin_once && !c.tty {
                    c.stdin = None;
                }
                Ok(())
            })),
            Request::ReopenLog { container } => Some(self.with(&container, |c| match &mut c.log {
                Some(log) if c.exit.is_none() => log.reopen().map_err(|e| internal(format!("reopen the log: {e}"))),
                Some(_) => Err(failure(FailureKind::State, format!("container {:?} is not running", c.id))),
                None => Err(failure(FailureKind::State, format!("container {:?} has no log file", c.id))),
            })),
            Request::Remove { container } => Some(self.remove(&container)),
            Request::Shutdown => {
                self.shut_down();
                Some(Reply::Ok)
            }
        };
        if let Some(reply) = reply {
            self.answer(number, &reply, None);
        }
    }

    fn with(&mut self, id: &str, act: impl FnOnce(&mut Container) -> Result<(), Failure>) -> Reply {
        match self.containers.get_mut(id) {
            Some(container) => act(container).map_or_else(Reply::Failed, |()| Reply::Ok),
            None => not_found(id),
        }
    }

    fn start(&mut self, number: u64, start: StartContainer) -> Option<Reply> {
        if self.containers.contains_key(&start.id) {
            return Some(Reply::Failed(failure(
                FailureKind::State,
                format!("container {:?} was started before", start.id),
            )));
        }
        match self.prepare(number, start) {
            Ok(()) => None,
            Err(error) => Some(Reply::Failed(failure(FailureKind::Start, format!("{error:#}")))),
        }
    }

    fn prepare(&mut self, number: u64, start: StartContainer) -> Result<()> {
        let spec = launch::read_spec(&start.bundle)?;
        let cgroups_path = spec
            .linux()
            .as_ref()
            .and_then(|l| l.cgroups_path().clone())
            .unwrap_or_else(|| PathBuf::from("/").join(&start.id));
        let log = start.log_path.as_deref().map(LogFile::open).transpose().context("open the container's log file")?;
        let mut outputs = Vec::new();
        let mut stdin = None;
        let (stdio, console) = if start.tty {
            let console = self.console("c")?;
            (Stdio::Console(console.path().to_owned()), Some(console))
        } else {
            let (out_read, out_write) = pipe_with(PipeFlags::CLOEXEC)?;
            let (err_read, err_write) = pipe_with(PipeFlags::CLOEXEC)?;
            outputs.push(Output::new(out_read, "stdout")?);
            outputs.push(Output::new(err_read, "stderr")?);
            let input = if start.stdin {
                let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
                stdin = Some(write);
                read
            } else {
                rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?
            };
            (Stdio::Pipes([input, out_write, err_write]), None)
        };
        let (dir, id, bundle) = (self.dir.clone(), start.id.clone(), start.bundle.clone());
        let worker = worker::spawn(move || launch::container(&dir, &id, &bundle, spec, stdio))?;
        let container = Container {
            id: start.id.clone(),
            bundle: start.bundle,
            pid: 0,
            started_at: 0,
            cgroup: rk_sys::cgroup_dir(&cgroups_path),
            exit: None,
            log,
            outputs,
            stdin,
            stdin_once: start.stdin_once,
            tty: start.tty,
        };
        self.containers.insert(start.id.clone(), container);
        self.jobs.push(Job { worker, client: number, purpose: Purpose::Start { container: start.id, console } });
        Ok(())
    }

    fn exec(&mut self, number: u64, request: Process) -> Option<Reply> {
        let Some(container) = self.containers.get(&request.container) else {
            return Some(not_found(&request.container));
        };
        if !container.running() {
            return Some(Reply::Failed(failure(
                FailureKind::State,
                format!("container {:?} is not running", request.container),
            )));
        }
        let (bundle, init) = (container.bundle.clone(), container.pid);
        match self.prepare_exec(number, request, bundle, init) {
            Ok(()) => None,
            Err(error) => Some(Reply::Failed(failure(FailureKind::Start, format!("{error:#}")))),
        }
    }

    fn prepare_exec(&mut self, number: u64, request: Process, bundle: PathBuf, init: i32) -> Result<()> {
        let process = serde_json::from_value(request.process).context("malformed OCI process")?;
        let (stdio, console) = if request.tty {
            let console = self.console("e")?;
            (Stdio::Console(console.path().to_owned()), Some(console))
        } else {
            let fds = self.clients.get_mut(&number).and_then(|client| client.take_fds::<3>());
            (Stdio::Pipes(fds.ok_or_else(|| anyhow!("an exec needs three descriptors"))?), None)
        };
        let (dir, id) = (self.dir.clone(), request.container);
        let worker = worker::spawn(move || launch::exec(&dir, &id, &bundle, init, process, stdio))?;
        self.jobs.push(Job { worker, client: number, purpose: Purpose::Exec { console, size: request.size } });
        Ok(())
    }

    /// A worker reported.
    pub fn finished(&mut self, client: u64, purpose: Purpose, outcome: Outcome) {
        match (purpose, outcome) {
            (Purpose::Start { container, console }, Outcome::Started(pid)) => {
                self.started(client, &container, console, pid)
            }
            (Purpose::Start { container, .. }, Outcome::Failed(message)) => {
                if let Some(failed) = self.containers.remove(&container) {
                    cgroup::kill_all(&failed.cgroup);
                }
                let _ = fs::remove_dir_all(container_dir(&self.dir).join(&container));
                self.answer(client, &Reply::Failed(failure(FailureKind::Start, message)), None);
            }
            (Purpose::Exec { console, size }, Outcome::Started(pid)) => {
                let master = console.and_then(|console| console.master().ok());
                if let (Some(master), Some(size)) = (&master, size) {
                    resize(master, size);
                }
                let started = Reply::Started { pid, started_at: clock::now_ns() };
                self.answer(client, &started, master);
                match self.early.remove(&pid) {
                    Some(exit) => self.answer(client, &Reply::ExecExited(exit), None),
                    None if self.clients.contains_key(&client) => drop(self.execs.insert(pid, client)),
                    // Who asked went before it knew what to kill.
                    None => send_signal(pid, libc::SIGKILL),
                }
            }
            (Purpose::Exec { .. }, Outcome::Failed(message)) => {
                self.answer(client, &Reply::Failed(failure(FailureKind::Start, message)), None);
            }
        }
    }

    fn started(&mut self, client: u64, id: &str, console: Option<Console>, pid: i32) {
        let started_at = clock::now_ns();
        if let Some(container) = self.containers.get_mut(id) {
            container.pid = pid;
            container.started_at = started_at;
            if let Some(master) = console.and_then(|console| console.master().ok())
                && let Ok(output) = Output::new(master, "stdout")
            {
                container.outputs.push(output);
            }
        }
        self.answer(client, &Reply::Started { pid, started_at }, None);
        if let Some(exit) = self.early.remove(&pid) {
            self.child_ended(pid, exit);
        }
    }

    fn attach(&mut self, number: u64, id: &str) {
        let fds = self.clients.get_mut(&number).and_then(|client| client.take_fds::<2>());
        let reply = match (self.containers.get_mut(id), fds) {
            (None, _) => Err(not_found(id)),
            (Some(container), _) if !container.running() => {
                Err(Reply::Failed(failure(FailureKind::State, format!("container {id:?} is not running"))))
            }
            (_, None) => Err(Reply::Failed(internal("attach needs two descriptors".into()))),
            (Some(container), Some(fds)) => {
                attach_to(container, fds).map_err(|e| Reply::Failed(internal(format!("attach: {e}"))))
            }
        };
        match reply {
            Ok(stdin) => self.answer(number, &Reply::Attached { stdin: stdin.is_some() }, stdin),
            Err(reply) => self.answer(number, &reply, None),
        }
    }

    fn signal(&mut self, id: &str, signal: i32, all: bool) -> Reply {
        self.with(id, |container| {
            if !container.running() {
                return Ok(());
            }
            if all && signal == libc::SIGKILL {
                cgroup::kill_all(&container.cgroup);
            }
            let targets = if all { cgroup::processes(&container.cgroup) } else { Vec::new() };
            for pid in targets.into_iter().chain([container.pid]) {
                send_signal(pid, signal);
            }
            Ok(())
        })
    }

    fn kill_exec(&mut self, pid: i32) -> Reply {
        // Only pids of live children that were exec'd for somebody: never a number made up or reused.
        if self.execs.contains_key(&pid) {
            send_signal(pid, libc::SIGKILL);
        }
        Reply::Ok
    }

    fn remove(&mut self, id: &str) -> Reply {
        match self.containers.get(id) {
            Some(container) if container.exit.is_none() => {
                Reply::Failed(failure(FailureKind::State, format!("container {id:?} is still running: stop it first")))
            }
            _ => {
                self.containers.remove(id);
                let _ = fs::remove_dir_all(container_dir(&self.dir).join(id));
                let _ = fs::remove_file(exit_file(&self.dir, id));
                Reply::Ok
            }
        }
    }

    fn shut_down(&mut self) {
        let deadline = Instant::now() + SHUTDOWN_PATIENCE;
        for job in &self.jobs {
            send_signal(job.worker.pid.as_raw(), libc::SIGKILL);
        }
        while self.containers.values().any(Container::running) && Instant::now() < deadline {
            for container in self.containers.values().filter(|c| c.running()) {
                cgroup::kill_all(&container.cgroup);
                send_signal(container.pid, libc::SIGKILL);
            }
            self.reap();
            // The only wait in the shim's life: it has nothing else to do any more.
            std::thread::sleep(Duration::from_millis(2));
        }
        if let Some(pause) = self.pause.take() {
            send_signal(pause.as_raw(), libc::SIGKILL);
            let _ = nix::sys::wait::waitpid(pause, None);
        }
        daemon::clean(&self.dir, &self.config);
        self.stopping = true;
    }

    /// A socket for the terminal of a container or an exec, as `kind` tells.
    fn console(&mut self, kind: &str) -> Result<Console> {
        self.consoles += 1;
        Console::listen(self.dir.join(format!("{kind}{}.sock", self.consoles)))
    }
}

fn attach_to(container: &mut Container, [out, err]: [OwnedFd; 2]) -> std::io::Result<Option<OwnedFd>> {
    // One of the streams may have ended already.
    for (stream, fd) in [("stdout", out), ("stderr", err)] {
        if let Some(output) = container.outputs.iter_mut().find(|output| output.stream() == stream) {
            output.sinks.push(Sink::new(fd)?);
        }
    }
    let stdin = if container.tty {
        container.outputs.first().map(|o| o.fd())
    } else {
        container.stdin.as_ref().map(|fd| fd.as_fd())
    };
    stdin.map(|fd| fd.try_clone_to_owned()).transpose()
}

fn resize(terminal: &OwnedFd, size: WindowSize) {
    let _ = tcsetwinsize(terminal, Winsize { ws_row: size.height, ws_col: size.width, ws_xpixel: 0, ws_ypixel: 0 });
}

fn send_signal(pid: i32, signal: i32) {
    if pid <= 0 {
        return;
    }
    match Signal::try_from(signal) {
        Ok(signal) => drop(kill(Pid::from_raw(pid), signal)),
        // Real-time signals are no variants of nix's enum.
        // SAFETY: kill takes no pointers; `pid` is a child of ours or in its cgroup.
        Err(_) if signal > 0 => drop(unsafe { libc::kill(pid, signal) }),
        Err(_) => {}
    }
}

fn failure(kind: FailureKind, message: String) -> Failure {
    Failure { kind, message }
}

fn internal(message: String) -> Failure {
    failure(FailureKind::Internal, message)
}

fn not_found(id: &str) -> Reply {
    Reply::Failed(failure(FailureKind::NotFound, format!("container {id:?} is not known to its shim")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn a_command_whose_client_went_while_it_was_started_is_killed() {
        let _alone = crate::PROGRAMS.lock();
        let dir = tempfile::tempdir().unwrap();
        let mut supervisor = Supervisor::of_test(dir.path());
        let mut command = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let pid = i32::try_from(command.id()).unwrap();
        supervisor.finished(7, Purpose::Exec { console: None, size: None }, Outcome::Started(pid));
        assert!(supervisor.execs.is_empty());
        // Another test of this process may have taken its end already.
        let ended = command.wait().map(|end| end.signal());
        assert!(matches!(ended, Ok(Some(libc::SIGKILL)) | Err(_)), "{ended:?}");
    }
}

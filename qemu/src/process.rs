//! Child processes that cannot outlive this one.
//!
//! The kernel sends the parent-death signal when the *thread* that forked ends, so one thread that lives as long as the
//! process forks all children, and `setpriv` (util-linux) arms the signal in each before it becomes the real program.

use crate::{Error, Result};
use std::fs::OpenOptions;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

type Request = (Command, Sender<std::io::Result<Child>>);

fn spawner() -> &'static Sender<Request> {
    static SPAWNER: OnceLock<Sender<Request>> = OnceLock::new();
    SPAWNER.get_or_init(|| {
        let (tx, rx) = channel::<Request>();
        std::thread::spawn(move || {
            while let Ok((mut command, reply)) = rx.recv() {
                let _ = reply.send(command.spawn());
            }
        });
        tx
    })
}

/// A child that is killed when this value is dropped or this process ends, be it by SIGKILL.
#[derive(Debug)]
pub struct Bound {
    name: String,
    child: Child,
}

impl Bound {
    /// Starts `command`, its output thrown away. The program must be findable by `execvp`.
    pub fn spawn(name: &str, command: &Command) -> Result<Bound> {
        Self::start(name, wrap(command))
    }

    /// As [`Bound::spawn`], with standard output and error appended to `log`.
    pub fn spawn_logged(name: &str, command: &Command, log: &Path) -> Result<Bound> {
        let file = OpenOptions::new().create(true).append(true).open(log).map_err(Error::file("open", log))?;
        let twin = file.try_clone().map_err(Error::file("open", log))?;
        let mut wrapped = wrap(command);
        wrapped.stdout(file).stderr(twin);
        Self::start(name, wrapped)
    }

    fn start(name: &str, command: Command) -> Result<Bound> {
        let (tx, rx) = channel();
        let gone = || Error::program(name, "the thread that starts processes is gone");
        spawner().send((command, tx)).map_err(|_| gone())?;
        let started = rx.recv().map_err(|_| gone())?;
        let child = started.map_err(|e| Error::program(name, format!("cannot start through setpriv: {e}")))?;
        Ok(Bound { name: name.to_owned(), child })
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The exit status when it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for the end; false when `limit` passed before.
    pub fn wait(&mut self, limit: Duration) -> bool {
        let start = Instant::now();
        while self.ended().is_none() {
            if start.elapsed() >= limit {
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        true
    }

    /// Ends it now and reaps it.
    pub fn kill(&mut self) {
        if let Err(error) = self.child.kill() {
            tracing::debug!(process = self.name, %error, "kill");
        }
        let _ = self.child.wait();
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The same command behind `setpriv`; a [`Command`]'s stdio cannot be read back, so it starts without any.
fn wrap(command: &Command) -> Command {
    let mut wrapped = Command::new("setpriv");
    wrapped.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program()).args(command.get_args());
    wrapped.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if let Some(dir) = command.get_current_dir() {
        wrapped.current_dir(dir);
    }
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(key, value),
            None => wrapped.env_remove(key),
        };
    }
    wrapped
}

/// Whether a process runs. One that has ended and waits to be reaped does not.
pub fn alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The state stands behind the name, which may hold anything but ends at the last parenthesis.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_ends_with_its_handle_and_survives_the_thread_that_asked_for_it() {
        let mut command = Command::new("sleep");
        command.arg("100");
        let mut child =
            std::thread::spawn(move || Bound::spawn("sleep", &command)).join().expect("thread").expect("spawn");
        assert!(!child.wait(Duration::from_millis(200)), "it died with the asking thread");
        let pid = child.id();
        drop(child);
        assert!(!alive(pid));
    }
}

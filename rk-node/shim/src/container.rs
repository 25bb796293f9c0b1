//! One container as its shim knows it.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rk_shim_protocol::{ContainerState, Exit};

use crate::cgroup;
use crate::logfile::LogFile;
use crate::output::Output;

/// A container from its start until it is removed.
#[derive(Debug)]
pub struct Container {
    /// Container id.
    pub id: String,
    /// Its bundle, for joining it later.
    pub bundle: PathBuf,
    /// Host pid of the first process; 0 until it is started.
    pub pid: i32,
    /// Nanoseconds since the epoch.
    pub started_at: i64,
    /// cgroup directory.
    pub cgroup: PathBuf,
    /// Set once it ended.
    pub exit: Option<Exit>,
    /// The log, if one was asked for and could be opened.
    pub log: Option<LogFile>,
    /// stdout, then stderr; the terminal's master alone with a terminal.
    pub outputs: Vec<Output>,
    /// Write end of the container's stdin, kept so that clients can come and go.
    pub stdin: Option<OwnedFd>,
    /// Whether stdin ends with the first client's.
    pub stdin_once: bool,
    /// Whether stdio is a terminal.
    pub tty: bool,
}

impl Container {
    /// Whether its first process runs.
    pub fn running(&self) -> bool {
        self.pid > 0 && self.exit.is_none()
    }

    /// As reported to the CRI server.
    pub fn state(&self) -> ContainerState {
        ContainerState { id: self.id.clone(), pid: self.pid, started_at: self.started_at, exit: self.exit.clone() }
    }

    /// Reads what output there is on stream `at`; forgets the stream when it ended.
    pub fn pump(&mut self, at: usize) {
        if let Some(output) = self.outputs.get_mut(at)
            && !output.pump(self.log.as_mut())
        {
            self.outputs.remove(at);
        }
    }

    /// The first process ended: nothing of the container may live on, and what it wrote is logged.
    pub fn ended(&mut self, mut exit: Exit) -> Exit {
        cgroup::kill_all(&self.cgroup);
        let log = &mut self.log;
        self.outputs.retain_mut(|output| output.drain(log.as_mut()));
        self.stdin = None;
        exit.oom_killed = cgroup::oom_killed(&self.cgroup);
        self.exit = Some(exit.clone());
        exit
    }
}

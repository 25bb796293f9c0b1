//! Children of PID 1: start, reap, signal.

use crate::error::{Result, SysError};
use crate::seccomp::Confinement;
use crate::signal::Signal;
use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// How to start a service.
#[derive(Debug)]
pub struct SpawnSpec<'a> {
    /// Absolute path.
    pub program: &'a str,
    /// Arguments after the program's name.
    pub args: &'a [String],
    /// The whole environment.
    pub env: &'a [(&'a str, &'a str)],
    /// cgroup directory that the child enters before it runs its program.
    pub cgroup: Option<&'a Path>,
    /// Where standard output and error go.
    pub output: &'a OwnedFd,
    /// What is refused to it from its start on.
    pub confinement: Option<&'a Confinement>,
}

/// A started child. PID 1 reaps it with everyone else, so this is only its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Child {
    /// Process id.
    pub pid: i32,
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// With this code.
    Code(i32),
    /// By this signal number.
    Signal(i32),
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "with code {code}"),
            Exit::Signal(signal) => write!(f, "by signal {signal}"),
        }
    }
}

/// Our own process id.
pub fn pid() -> i32 {
    nix::unistd::getpid().as_raw()
}

/// Whether a process of this id exists.
pub fn process_exists(pid: i32) -> bool {
    !matches!(nix::sys::signal::kill(Pid::from_raw(pid), None), Err(Errno::ESRCH))
}

/// Starts a service in its own session, with no signal blocked and standard input from `/dev/null`.
///
/// # Errors
/// The program cannot be run, or its cgroup cannot be entered.
pub fn spawn(spec: &SpawnSpec<'_>) -> Result<Child> {
    let failed = |err: io::Error| SysError::new("spawn", spec.program, err);
    let cgroup = match spec.cgroup {
        Some(dir) => Some(OpenOptions::new().write(true).open(dir.join("cgroup.procs")).map_err(failed)?),
        None => None,
    };
    let mut command = Command::new(spec.program);
    command
        .args(spec.args)
        .env_clear()
        .envs(spec.env.iter().copied())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(spec.output.try_clone().map_err(failed)?)
        .stderr(spec.output.try_clone().map_err(failed)?);
    let confinement = spec.confinement.cloned();
    let enter = move || {
        if let Some(procs) = &cgroup {
            let zero = b"0";
            // SAFETY: a valid descriptor and a buffer of one byte; write(2) is async-signal-safe.
            if unsafe { libc::write(procs.as_raw_fd(), zero.as_ptr().cast(), zero.len()) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        nix::sys::signal::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
        nix::unistd::setsid()?;
        confinement.as_ref().map_or(Ok(()), Confinement::enter)
    };
    // SAFETY: between fork and exec the closure only makes async-signal-safe syscalls and does not allocate.
    let command = unsafe { command.pre_exec(enter) };
    let child = command.spawn().map_err(failed)?;
    Ok(Child { pid: i32::try_from(child.id()).unwrap_or(i32::MAX) })
}

/// Reaps one ended child, ours or an adopted orphan; `None` when no child has ended.
///
/// # Errors
/// As `waitpid(2)`; having no children at all is `None`.
pub fn reap_one() -> Result<Option<(i32, Exit)>> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => return Ok(Some((pid.as_raw(), Exit::Code(code)))),
            Ok(WaitStatus::Signaled(pid, signal, _)) => return Ok(Some((pid.as_raw(), Exit::Signal(signal as i32)))),
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(None),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(SysError::new("waitpid", "any child", errno)),
        }
    }
}

/// Sends a signal to one process; one that is gone already is no error.
///
/// # Errors
/// As `kill(2)`. Ids below 2 (groups, everyone, ourselves) are refused.
pub fn kill(pid: i32, signal: Signal) -> Result<()> {
    if pid < 2 {
        return Err(SysError::new("kill", pid.to_string(), io::Error::from(io::ErrorKind::InvalidInput)));
    }
    match nix::sys::signal::kill(Pid::from_raw(pid), signal.to_nix()) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(SysError::new("kill", pid.to_string(), errno)),
    }
}

/// Sends a signal to every process but PID 1; only PID 1 may. That nobody is left is no error.
///
/// # Errors
/// As `kill(2)`, and when the caller is not PID 1.
pub fn kill_everything(signal: Signal) -> Result<()> {
    if pid() != 1 {
        return Err(SysError::new("kill", "every process", io::Error::from(io::ErrorKind::PermissionDenied)));
    }
    match nix::sys::signal::kill(Pid::from_raw(-1), signal.to_nix()) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(SysError::new("kill", "every process", errno)),
    }
}

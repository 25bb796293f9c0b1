//! A forked child that does one blocking job and reports over a pipe.
//!
//! The processes it makes are cloned with `CLONE_PARENT`, so they are the shim's children. Its memory dies with it, which keeps the
//! shim at a few hundred kilobytes of its own.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::unistd::{ForkResult, Pid};
use rustix::pipe::{PipeFlags, pipe_with};
use serde::{Deserialize, Serialize};

/// The end of a job: a pid, or what went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Host pid of the started process.
    Started(i32),
    /// Why not.
    Failed(String),
}

/// A job under way.
#[derive(Debug)]
pub struct Worker {
    /// The forked process.
    pub pid: Pid,
    /// Readable when the job ended.
    pub result: OwnedFd,
}

/// Runs `job` in a forked child.
pub fn spawn(job: impl FnOnce() -> Result<i32>) -> Result<Worker> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).context("pipe for a worker")?;
    // SAFETY: this process is single-threaded, so the child may run any code; it never returns from this function.
    match unsafe { nix::unistd::fork() }.context("fork a worker")? {
        ForkResult::Parent { child } => Ok(Worker { pid: child, result: read }),
        ForkResult::Child => {
            drop(read);
            // The shim blocks the signals that it polls for; containers must not inherit that.
            let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
            let outcome = match job() {
                Ok(pid) => Outcome::Started(pid),
                Err(error) => Outcome::Failed(format!("{error:#}")),
            };
            let _ = File::from(write).write_all(&serde_json::to_vec(&outcome).unwrap_or_default());
            // SAFETY: leaves without running the shim's destructors and exit handlers, which belong to the parent.
            unsafe { libc::_exit(0) }
        }
    }
}

/// Reads the outcome of a worker whose pipe is readable. A worker that died silently failed.
pub fn outcome(result: OwnedFd) -> Outcome {
    let mut bytes = Vec::new();
    let read = File::from(result).take(64 * 1024).read_to_end(&mut bytes);
    match read.ok().and_then(|_| serde_json::from_slice(&bytes).ok()) {
        Some(outcome) => outcome,
        None => {
            Outcome::Failed("the runtime worker died: see the node's kernel log for a reason, such as memory".into())
        }
    }
}

//! The last steps of a container process before its program runs.
//!
//! libcontainer drops capabilities before it calls an executor, and without its C seccomp library ignores profiles. So it is given a
//! process without capability sets (it then drops none), and this executor installs the profile and drops capabilities itself, in
//! the reference runtime's order: without no_new_privs the filter needs CAP_SYS_ADMIN and so comes first.

use std::cell::RefCell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::ffi::{CString, OsStr};
use std::io::Write;
use std::mem::ManuallyDrop;
use std::os::fd::{BorrowedFd, FromRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use libcontainer::capabilities::drop_privileges;
use libcontainer::syscall::syscall::create_syscall;
use libcontainer::workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError};
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, sigprocmask};
use oci_spec::runtime::{LinuxCapabilities, Spec};
use rk_sys::text_as_bytes;
use seccompiler::BpfProgram;

use crate::join::Join;
use crate::{lookup, seccomp};

/// What the process needs that the OCI spec given to libcontainer no longer says.
#[derive(Clone)]
pub struct Launcher {
    /// Capability sets to end up with; `None` keeps them.
    pub capabilities: Option<LinuxCapabilities>,
    /// Filters in the order in which to install them.
    pub filters: Vec<BpfProgram>,
    /// Whether no_new_privs is set by then.
    pub no_new_privs: bool,
    /// User to own stdio, so that `/dev/stdout` can be opened by a process that is not root.
    pub uid: u32,
    /// The pod's users to join, in a container of a pod with its own.
    pub join: Option<Join>,
    /// Write end of a close-on-exec pipe for the reason why the program does not run.
    pub report: RawFd,
    /// Found by `validate`.
    pub program: RefCell<Option<PathBuf>>,
}

impl Launcher {
    fn tell(&self, reason: &str) {
        // SAFETY: `report` stays open in this process until exec; `ManuallyDrop` leaves the closing to that.
        let mut pipe = ManuallyDrop::new(unsafe { std::fs::File::from_raw_fd(self.report) });
        let _ = pipe.write_all(reason.as_bytes());
    }

    fn run(&self, spec: &Spec) -> Result<Infallible, String> {
        let process = spec.process().as_ref().ok_or("the spec has no process")?;
        let program = self.program.borrow().clone().ok_or("the program was not looked up")?;
        let args = strings(process.args().as_deref().unwrap_or_default())?;
        let env = process.env().iter().flatten().map(|entry| c_string(OsStr::from_bytes(&text_as_bytes(entry))));
        let env = env.collect::<Result<Vec<_>, _>>()?;
        let path = c_string(program.as_os_str())?;
        default_signals();
        if !self.no_new_privs {
            seccomp::install(&self.filters).map_err(|error| format!("install the seccomp profile: {error}"))?;
        }
        if let Some(capabilities) = &self.capabilities {
            drop_privileges(capabilities, create_syscall().as_ref())
                .map_err(|error| format!("drop capabilities: {error}"))?;
        }
        if self.no_new_privs {
            seccomp::install(&self.filters).map_err(|error| format!("install the seccomp profile: {error}"))?;
        }
        let Err(error) = nix::unistd::execve(&path, &args, &env);
        let shown = process.args().iter().flatten().next().map_or("", String::as_str);
        Err(format!("exec: {shown:?}: {}", errno_words(error)))
    }
}

/// Gives stdio of a process about to exec to a user.
pub fn give_stdio(uid: u32) {
    for fd in 0..3 {
        // SAFETY: 0, 1 and 2 are open in a process about to exec.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        let null = rustix::fs::fstat(fd).is_ok_and(|s| s.st_rdev == rustix::fs::makedev(1, 3));
        if !null {
            // A stdio that cannot be chowned (say a socket) is still usable by descriptor.
            let _ = rustix::fs::fchown(fd, Some(rustix::fs::Uid::from_raw(uid)), None);
        }
    }
}

/// errno as Go prints it.
fn errno_words(error: nix::Error) -> String {
    match error {
        nix::Error::ENOEXEC => "exec format error".into(),
        nix::Error::EACCES => "permission denied".into(),
        nix::Error::ENOENT => "no such file or directory".into(),
        nix::Error::E2BIG => "argument list too long".into(),
        other => other.desc().to_lowercase(),
    }
}

/// Ignored and blocked signals survive exec: Rust ignores SIGPIPE, and a program may not expect that.
fn default_signals() {
    // SAFETY: SIG_DFL installs no handler.
    let _ = unsafe { nix::sys::signal::signal(Signal::SIGPIPE, SigHandler::SigDfl) };
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
}

fn c_string(text: &OsStr) -> Result<CString, String> {
    CString::new(text.as_bytes()).map_err(|_| format!("{text:?} holds a NUL byte"))
}

fn strings(texts: &[String]) -> Result<Vec<CString>, String> {
    texts.iter().map(|text| c_string(OsStr::new(text))).collect()
}

impl Executor for Launcher {
    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        let process = spec.process().as_ref();
        let command = process.and_then(|p| p.args().as_ref()).and_then(|args| args.first()).map_or("", String::as_str);
        let env = process.and_then(|p| p.env().as_deref()).unwrap_or_default();
        let path = env.iter().rev().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or("");
        // First: from here on nothing is done with rights that the pod does not have.
        let joined = self.join.as_ref().map_or(Ok(()), Join::enter);
        let found = joined.and_then(|()| lookup::find(command, path)).map_err(|reason| {
            self.tell(&reason);
            ExecutorValidationError::ArgValidationError(reason)
        })?;
        give_stdio(self.uid);
        self.program.replace(Some(found));
        Ok(())
    }

    fn setup_envs(&self, _: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        // `execve` gets the spec's, in its order.
        Ok(())
    }

    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let Err(reason) = self.run(spec);
        self.tell(&reason);
        Err(ExecutorError::Other(reason))
    }
}

//! PID 1 of a shared PID namespace: reaps, and gives up everything that a container could want from it.

use std::path::Path;

use anyhow::{Context, Result};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Gid, Uid, chdir, chroot, setgroups, setresgid, setresuid};

/// The user that nobody is, as the usual pause image has it.
const NOBODY: u32 = 65535;

/// Waits for a signal or the shim's death to end, reaping orphans. Containers see this process as PID 1, so it has no root to look into, no
/// capability, no user, and is not dumpable.
pub fn run(dir: &Path) -> Result<()> {
    let mut waited = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT] {
        waited.add(signal);
    }
    waited.thread_block().context("block signals")?;
    let empty = dir.join("empty");
    std::fs::create_dir_all(&empty)?;
    chroot(&empty).context("enter an empty root")?;
    chdir("/")?;
    setgroups(&[]).context("drop groups")?;
    setresgid(Gid::from_raw(NOBODY), Gid::from_raw(NOBODY), Gid::from_raw(NOBODY)).context("drop group")?;
    setresuid(Uid::from_raw(NOBODY), Uid::from_raw(NOBODY), Uid::from_raw(NOBODY))
        .context("drop user and capabilities")?;
    // A change of user would undo it. Nobody else knows of this process once its shim was killed.
    prctl::set_pdeathsig(Signal::SIGKILL).context("end with the shim")?;
    prctl::set_no_new_privs().context("set no_new_privs")?;
    prctl::set_dumpable(false).context("set undumpable")?;
    loop {
        match waited.wait() {
            Ok(Signal::SIGCHLD) => while reaped() {},
            Ok(_) => return Ok(()),
            Err(_) => {}
        }
    }
}

fn reaped() -> bool {
    matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(status) if status != WaitStatus::StillAlive)
}

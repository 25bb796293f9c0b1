//! Console, pipes, host name, sync: the small change of an init.

use crate::error::{Result, SysError};
use nix::fcntl::{FcntlArg, OFlag};
use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

/// Opens the kernel's console for writing, without making it a controlling terminal and without ever waiting for it.
///
/// # Errors
/// There is no console.
pub fn open_console() -> Result<File> {
    OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NOCTTY | libc::O_CLOEXEC)
        .open("/dev/console")
        .map_err(|err| SysError::new("open", "/dev/console", err))
}

/// Makes `file` standard input, output and error of this process.
///
/// # Errors
/// As `dup2(2)`.
pub fn take_as_stdio(file: &File) -> Result<()> {
    let failed = |errno| SysError::new("dup2", "standard streams", errno);
    nix::unistd::dup2_stdin(file).map_err(failed)?;
    nix::unistd::dup2_stdout(file).map_err(failed)?;
    nix::unistd::dup2_stderr(file).map_err(failed)
}

/// A pipe whose reading end never waits; the writing end waits as usual. Returns (reader, writer).
///
/// # Errors
/// As `pipe2(2)`, `fcntl(2)`.
pub fn log_pipe() -> Result<(File, OwnedFd)> {
    let failed = |errno| SysError::new("pipe", "service log", errno);
    let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(failed)?;
    nix::fcntl::fcntl(reader.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(failed)?;
    Ok((File::from(reader), writer))
}

/// Sets the kernel's host name.
///
/// # Errors
/// As `sethostname(2)`.
pub fn set_hostname(name: &str) -> Result<()> {
    nix::unistd::sethostname(name).map_err(|errno| SysError::new("sethostname", name, errno))
}

/// Writes all dirty data back to disks.
pub fn sync_disks() {
    nix::unistd::sync();
}

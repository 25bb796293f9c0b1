//! Waiting for descriptors.

use crate::error::{Result, SysError};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// Which of the descriptors are readable (or hung up), by their position.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ready(Vec<bool>);

impl Ready {
    /// Whether the descriptor at this position is readable.
    pub fn is(&self, position: usize) -> bool {
        self.0.get(position).copied().unwrap_or(false)
    }
}

/// Waits until a descriptor is readable or the time is up; without a limit, forever.
///
/// # Errors
/// As `poll(2)`; an interruption is an empty answer.
pub fn wait_readable(fds: &[BorrowedFd<'_>], limit: Option<Duration>) -> Result<Ready> {
    let mut polled: Vec<PollFd<'_>> = fds.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
    let timeout = match limit {
        None => PollTimeout::NONE,
        // Rounded up, so that a deadline is never woken for a moment too early, over and over.
        Some(limit) => PollTimeout::try_from(limit.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX),
    };
    match poll(&mut polled, timeout) {
        Ok(_) => Ok(Ready(polled.iter().map(|fd| fd.revents().is_some_and(|events| !events.is_empty())).collect())),
        Err(Errno::EINTR) => Ok(Ready::default()),
        Err(errno) => Err(SysError::new("poll", format!("{} descriptors", fds.len()), errno)),
    }
}

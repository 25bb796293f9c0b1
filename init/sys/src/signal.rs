//! Signals as a queue that can be polled.

use crate::error::{Result, SysError};
use nix::sys::signal as nixsig;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::os::fd::{AsFd, BorrowedFd};

/// The signals that PID 1 sends or hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// A child ended.
    Child,
    /// Stop, please.
    Terminate,
    /// Stop now.
    Kill,
    /// Ctrl-Alt-Del, when routed to PID 1.
    Interrupt,
    /// Re-read.
    HangUp,
    /// User-defined one.
    User1,
    /// User-defined two.
    User2,
}

impl Signal {
    const HEARD: [Signal; 6] =
        [Signal::Child, Signal::Terminate, Signal::Interrupt, Signal::HangUp, Signal::User1, Signal::User2];

    pub(crate) fn to_nix(self) -> nixsig::Signal {
        match self {
            Signal::Child => nixsig::SIGCHLD,
            Signal::Terminate => nixsig::SIGTERM,
            Signal::Kill => nixsig::SIGKILL,
            Signal::Interrupt => nixsig::SIGINT,
            Signal::HangUp => nixsig::SIGHUP,
            Signal::User1 => nixsig::SIGUSR1,
            Signal::User2 => nixsig::SIGUSR2,
        }
    }
}

/// All signals that can be caught, blocked for this process and readable from a descriptor.
#[derive(Debug)]
pub struct SignalQueue {
    fd: SignalFd,
}

impl SignalQueue {
    /// Blocks the signals and opens the queue. For the main thread, before any other is started.
    ///
    /// # Errors
    /// As `sigprocmask(2)`, `signalfd(2)`.
    pub fn open() -> Result<SignalQueue> {
        let mut set = nixsig::SigSet::empty();
        for signal in Signal::HEARD {
            set.add(signal.to_nix());
        }
        // A write to a vanished reader must be an error, not the end of PID 1.
        set.add(nixsig::SIGPIPE);
        set.thread_block().map_err(|errno| SysError::new("sigprocmask", "signals", errno))?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
            .map_err(|errno| SysError::new("signalfd", "signals", errno))?;
        Ok(SignalQueue { fd })
    }

    /// The next signal that came, if one did; ones without a name here are skipped.
    ///
    /// # Errors
    /// As `read(2)`.
    pub fn take(&mut self) -> Result<Option<Signal>> {
        loop {
            let info = self.fd.read_signal().map_err(|errno| SysError::new("read", "signalfd", errno))?;
            let Some(info) = info else { return Ok(None) };
            let found = Signal::HEARD.into_iter().find(|signal| signal.to_nix() as u32 == info.ssi_signo);
            if found.is_some() {
                return Ok(found);
            }
        }
    }
}

impl AsFd for SignalQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

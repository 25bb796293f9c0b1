//! Ctrl-C during `up`: machines that are not a cluster yet are taken down, for nobody knows of them.

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use std::sync::{Arc, Mutex, PoisonError};

/// What shells expect of a program that a signal ended, less the signal's number.
const SIGNALLED: i32 = 128;

/// Waits for SIGINT and SIGTERM while it lives, and for as long as the process lives after [`Interrupt::over`] does nothing
/// but end the process.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<Mutex<Option<Pid>>>);

impl Interrupt {
    /// Starts to wait. The signals are blocked in this thread and all that it makes from now on, so it is called before there
    /// are others.
    ///
    /// # Errors
    /// The kernel refuses to block signals or to start a thread.
    pub fn watch() -> Result<Interrupt> {
        let mut signals = SigSet::empty();
        signals.extend([Signal::SIGTERM, Signal::SIGINT]);
        signals.thread_block().context("cannot block signals")?;
        let interrupt = Interrupt::default();
        let shared = interrupt.clone();
        let wait = move || {
            let Ok(signal) = signals.wait() else { return };
            if let Some(owner) = shared.owner().take() {
                eprintln!("\n{signal}: taking the machines down (again to kill them)");
                std::thread::spawn(move || take_down(owner, signal));
                let _ = signals.wait();
                // Machines die with their owner: each has a parent-death signal.
                let _ = kill(owner, Signal::SIGKILL);
            }
            std::process::exit(SIGNALLED + signal as i32);
        };
        std::thread::Builder::new().name("interrupt".into()).spawn(wait).context("cannot start a thread")?;
        Ok(interrupt)
    }

    /// From now on the process `pid` owns machines that must not be left behind.
    pub fn guard(&self, pid: u32) {
        *self.owner() = i32::try_from(pid).ok().map(Pid::from_raw);
    }

    /// The machines are a cluster that may live on.
    pub fn over(&self) {
        *self.owner() = None;
    }

    fn owner(&self) -> std::sync::MutexGuard<'_, Option<Pid>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks the owner of machines to stop, and ends this process after it.
fn take_down(owner: Pid, signal: Signal) -> ! {
    let _ = kill(owner, Signal::SIGTERM);
    let _ = waitpid(owner, None);
    std::process::exit(SIGNALLED + signal as i32)
}

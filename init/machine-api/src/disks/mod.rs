//! What writes disks: an upgrade of the other slot, an installation on another disk. One at a time, on a thread of its own, with
//! pieces coming in through a bounded queue and progress going out; whatever ends early leaves the running system as it was.

mod esp;
mod install;
mod select;
mod signature;
mod source;
mod upgrade;

pub use install::{install, plan};
pub use upgrade::upgrade;

use rk_machine_proto::v1::Progress;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tonic::Status;

/// What a caller sees of the work.
pub type ProgressStream = Pin<Box<dyn Stream<Item = Result<Progress, Status>> + Send>>;

/// Pieces in flight: a quarter of a MiB each.
const PIECES: usize = 4;
/// Steps in flight; a caller who does not read them slows the work.
pub(crate) const STEPS: usize = 64;

/// The right to write disks; given back when dropped.
#[derive(Debug)]
pub struct Turn(Arc<AtomicBool>);

impl Turn {
    /// Takes it.
    ///
    /// # Errors
    /// Somebody has it.
    pub fn take(busy: &Arc<AtomicBool>) -> Result<Turn, Status> {
        match busy.compare_exchange(false, true, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Ok(Turn(Arc::clone(busy))),
            Err(_) => Err(Status::failed_precondition("an upgrade or installation is under way; wait for its end")),
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Tells the caller how far the work is.
#[derive(Debug, Clone)]
pub(crate) struct Teller(mpsc::Sender<Result<Progress, Status>>);

impl Teller {
    pub(crate) fn new(sender: mpsc::Sender<Result<Progress, Status>>) -> Teller {
        Teller(sender)
    }

    /// From the thread that works. A caller who is gone is no reason to stop: what is half done is made whole.
    pub(crate) fn tell(&self, step: &str, done: u64, total: u64) {
        let _ = self.0.blocking_send(Ok(Progress { step: step.to_owned(), done, total }));
    }

    /// From a task.
    pub(crate) async fn say(&self, result: Result<&str, Status>) {
        let message = result.map(|step| Progress { step: step.to_owned(), done: 0, total: 0 });
        let _ = self.0.send(message).await;
    }
}

/// Runs blocking work on a thread of its own.
pub(crate) async fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Status> + Send + 'static,
) -> Result<T, Status> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().name("disks".to_owned()).spawn(move || {
        let _ = sender.send(work());
    });
    thread.map_err(|err| Status::internal(format!("starting a thread: {err}")))?;
    receiver.await.unwrap_or_else(|_| Err(Status::internal("the thread that writes the disk ended early")))
}

fn failed(what: &str) -> impl Fn(std::io::Error) -> Status {
    let what = what.to_owned();
    move |err| Status::internal(format!("{what}: {err}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_writes_disks_at_a_time() {
        let busy = Arc::new(AtomicBool::new(false));
        let turn = Turn::take(&busy).unwrap();
        assert_eq!(Turn::take(&busy).unwrap_err().code(), tonic::Code::FailedPrecondition);
        drop(turn);
        assert!(Turn::take(&busy).is_ok());
    }
}

//! `ExecSync`: a command run to its end, its output kept up to a bound.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use rk_cri_api::v1::{ContainerState, ExecSyncRequest, ExecSyncResponse};
use rk_shim_protocol::Process;
use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio_util::task::AbortOnDropHandle;

use crate::container;
use crate::error::{Error, IoContext, Result};
use crate::record::ContainerRecord;
use crate::runtime::Runtime;
use crate::shim;

/// Output kept of each stream: both together must fit the 16 MiB message that clients take.
const MAX_OUTPUT: usize = 7 * 1024 * 1024;
/// How long output may go on after the command ended, when something it left in the background holds the pipe.
const LINGER: Duration = Duration::from_secs(2);

/// The container's record if it runs.
pub(crate) fn running(runtime: &Runtime, id: &str) -> Result<ContainerRecord> {
    let record = runtime.tables.container(id)?.get();
    match record.state() {
        ContainerState::ContainerRunning => Ok(record),
        state => Err(Error::State(format!("container {:?} is in {} state", record.id, state.as_str_name()))),
    }
}

/// A pipe: the end to keep and the end to give away.
pub(crate) fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    pipe_with(PipeFlags::CLOEXEC).at("make", "a pipe")
}

/// `/dev/null` to read from.
pub(crate) fn null() -> Result<OwnedFd> {
    rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).at("open", "/dev/null")
}

pub(crate) async fn exec_sync(runtime: &Runtime, request: ExecSyncRequest) -> Result<ExecSyncResponse> {
    let record = running(runtime, &request.container_id)?;
    let process = Process {
        container: record.id.clone(),
        process: container::process(runtime, &record, &request.cmd, false)?,
        tty: false,
        size: None,
    };
    let ((out, out_write), (err, err_write)) = (pipe()?, pipe()?);
    let (out, err) = (Capture::of(receiver(out)?), Capture::of(receiver(err)?));
    let mut exec = shim::exec(&runtime.run_dir(&record.sandbox), process, vec![null()?, out_write, err_write]).await?;
    let exit = if request.timeout > 0 {
        let patience = Duration::from_secs(request.timeout.unsigned_abs());
        match tokio::time::timeout(patience, exec.wait()).await {
            Ok(exit) => exit?,
            Err(_) => {
                exec.kill().await;
                return Err(Error::Deadline(format!(
                    "command {:?} timed out: timeout {}s exceeded",
                    request.cmd, request.timeout
                )));
            }
        }
    } else {
        exec.wait().await?
    };
    let (stdout, stderr) = said(out, err, LINGER).await;
    Ok(ExecSyncResponse { stdout, stderr, exit_code: exit.code })
}

fn receiver(fd: OwnedFd) -> Result<Receiver> {
    Receiver::from_owned_fd(fd).at("watch", "a pipe")
}

/// One stream of a command, read by a task of its own.
struct Capture {
    kept: Arc<Mutex<Vec<u8>>>,
    task: AbortOnDropHandle<()>,
}

impl Capture {
    fn of(from: Receiver) -> Self {
        let kept: Arc<Mutex<Vec<u8>>> = Arc::default();
        let task = AbortOnDropHandle::new(tokio::spawn(capture(from, Arc::clone(&kept)).boxed()));
        Self { kept, task }
    }

    /// What was read so far.
    fn taken(&self) -> Vec<u8> {
        std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Both streams to their ends, or as far as they came within `linger`.
async fn said(mut out: Capture, mut err: Capture, linger: Duration) -> (Vec<u8>, Vec<u8>) {
    let ends = async {
        let _ = (&mut out.task).await;
        let _ = (&mut err.task).await;
    };
    // Whether they have ended or not, what was read is there.
    let _ = tokio::time::timeout(linger, ends).await;
    (out.taken(), err.taken())
}

/// Reads to the end; what is beyond the bound is read and dropped, so that the command can go on.
async fn capture(mut from: Receiver, into: Arc<Mutex<Vec<u8>>>) {
    let mut chunk = [0u8; 8192];
    while let Ok(n @ 1..) = from.read(&mut chunk).await {
        let mut kept = into.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MAX_OUTPUT.saturating_sub(kept.len()).min(n);
        kept.extend_from_slice(chunk.get(..room).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(said: &[u8]) -> (Capture, OwnedFd) {
        let (read, write) = pipe().unwrap();
        rustix::io::write(&write, said).unwrap();
        (Capture::of(receiver(read).unwrap()), write)
    }

    #[tokio::test]
    async fn what_was_said_is_answered_though_something_in_the_background_holds_the_pipe() {
        let ((out, held), (err, ended)) = (stream(b"out\n"), stream(b"err\n"));
        drop(ended);
        let both = said(out, err, Duration::from_secs(2)).await;
        assert_eq!(both, (b"out\n".to_vec(), b"err\n".to_vec()));
        // Nobody reads any more: what still writes is told so.
        let until = tokio::time::Instant::now() + Duration::from_secs(30);
        while rustix::io::write(&held, b"late") != Err(rustix::io::Errno::PIPE) {
            assert!(tokio::time::Instant::now() < until, "it is still taken");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn streams_that_end_are_answered_at_once_and_whole() {
        let ((out, one), (err, two)) = (stream(b"all of it"), stream(b""));
        drop((one, two));
        let begun = std::time::Instant::now();
        assert_eq!(said(out, err, Duration::from_secs(60)).await, (b"all of it".to_vec(), Vec::new()));
        assert!(begun.elapsed() < Duration::from_secs(30));
    }
}

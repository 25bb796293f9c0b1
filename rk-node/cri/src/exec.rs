//! `ExecSync`: a command run to its end, its output kept up to a bound.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rk_cri_api::v1::{ContainerState, ExecSyncRequest, ExecSyncResponse};
use rk_shim_protocol::Process;
use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;

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
    let (out, err) = (receiver(out)?, receiver(err)?);
    let mut exec = shim::exec(&runtime.run_dir(&record.sandbox), process, vec![null()?, out_write, err_write]).await?;
    let mut out = tokio::spawn(capture(out));
    let mut err = tokio::spawn(capture(err));
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
    let lingering = tokio::time::timeout(LINGER, async { (drained(&mut out).await, drained(&mut err).await) });
    let (stdout, stderr) = lingering.await.unwrap_or_else(|_| {
        out.abort();
        err.abort();
        Default::default()
    });
    Ok(ExecSyncResponse { stdout, stderr, exit_code: exit.code })
}

fn receiver(fd: OwnedFd) -> Result<Receiver> {
    Receiver::from_owned_fd(fd).at("watch", "a pipe")
}

async fn drained(task: &mut tokio::task::JoinHandle<Vec<u8>>) -> Vec<u8> {
    task.await.unwrap_or_default()
}

/// Reads to the end; what is beyond the bound is read and dropped, so that the command can go on.
async fn capture(mut from: Receiver) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut chunk = [0u8; 8192];
    while let Ok(n @ 1..) = from.read(&mut chunk).await {
        let room = MAX_OUTPUT.saturating_sub(kept.len()).min(n);
        kept.extend_from_slice(chunk.get(..room).unwrap_or_default());
    }
    kept
}

//! Snapshots of the control plane's store, made by `rk-control` itself.

use super::control::Pid1;
use crate::streams::{Bytes, whole_file};
use rk_config::MachineConfig;
use rk_machine_proto::v1::Chunk;
use rk_supervise::control::Request;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::Duration;
use tokio_stream::{Stream, StreamExt};
use tonic::Status;

const PROGRAM: &str = "/bin/rk-control";
const DATA_DIR: &str = "/var/lib/rk-control";
/// Beside the store, for a rename must not cross file systems.
const SNAPSHOT: &str = "/var/lib/rk-control/snapshot.tmp";
const RESTORE: &str = "/var/lib/rk-control/restore.tmp";
/// Largest store.
const MOST: u64 = 8 << 30;
const SERVICE: &str = "control";
/// rk-control needs this long to stop at most; PID 1 kills it then.
const STOP: Duration = Duration::from_secs(30);

fn is_control_plane() -> Result<(), Status> {
    if Path::new(DATA_DIR).join("pki").is_dir() {
        return Ok(());
    }
    Err(Status::failed_precondition("this node is not a control plane; ask one that is"))
}

/// Whether the store is this machine's own.
///
/// # Errors
/// It is an etcd, which has snapshots of its own.
pub fn keeps_its_state(config: Option<&MachineConfig>) -> Result<(), Status> {
    match config.and_then(|config| config.control_plane.as_ref()).and_then(|plane| plane.etcd.as_ref()) {
        None => Ok(()),
        Some(etcd) => Err(Status::failed_precondition(format!(
            "this control plane keeps its state in the etcd at {}; use etcdctl's and etcdutl's snapshots",
            etcd.endpoints.join(", ")
        ))),
    }
}

async fn rk_control(args: &[&str]) -> Result<(), Status> {
    let run =
        tokio::process::Command::new(PROGRAM).args(args).stdin(std::process::Stdio::null()).kill_on_drop(true).output();
    let output = run.await.map_err(|err| Status::internal(format!("{PROGRAM}: {err}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let line = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no reason told");
    Err(Status::internal(format!("{PROGRAM} {}: {line}", args.first().unwrap_or(&""))))
}

/// Makes a snapshot while the control plane runs, and streams it.
///
/// # Errors
/// This is no control plane, or the disk is full.
pub async fn snapshot() -> Result<Bytes, Status> {
    is_control_plane()?;
    let _ = fs::remove_file(SNAPSHOT);
    rk_control(&["snapshot", "--data-dir", DATA_DIR, "--to", SNAPSHOT]).await?;
    let file = File::open(SNAPSHOT).map_err(|err| Status::internal(format!("{SNAPSHOT}: {err}")))?;
    // The open file stays readable; nothing is left when the caller goes.
    let _ = fs::remove_file(SNAPSHOT);
    Ok(whole_file(file, MOST))
}

/// Takes a snapshot in, checks it, and starts the control plane from it. The store that was there is kept beside it.
///
/// # Errors
/// It is no snapshot; then nothing changed.
pub async fn restore(pid1: &Pid1, mut chunks: impl Stream<Item = Result<Chunk, Status>> + Unpin) -> Result<(), Status> {
    is_control_plane()?;
    let failed = |err: std::io::Error| Status::internal(format!("{RESTORE}: {err}"));
    let mut file = File::create(RESTORE).map_err(failed)?;
    let mut size = 0;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk?;
        size += chunk.data.len() as u64;
        if size > MOST {
            return Err(Status::out_of_range(format!("the snapshot is larger than {MOST} bytes")));
        }
        file.write_all(&chunk.data).map_err(failed)?;
    }
    file.sync_all().map_err(failed)?;
    rk_control(&["restore", "--data-dir", DATA_DIR, "--from", RESTORE, "--check"]).await?;
    pid1.ask(&Request::Hold(SERVICE.to_owned())).await?;
    let restored = match stopped(pid1).await {
        Ok(()) => rk_control(&["restore", "--data-dir", DATA_DIR, "--from", RESTORE]).await,
        Err(status) => Err(status),
    };
    let _ = fs::remove_file(RESTORE);
    // Whatever happened, the control plane must run again.
    pid1.ask(&Request::Release(SERVICE.to_owned())).await?;
    restored
}

async fn stopped(pid1: &Pid1) -> Result<(), Status> {
    let deadline = tokio::time::Instant::now() + STOP;
    loop {
        let status = pid1.status().await?;
        if status.services.iter().any(|service| service.name == SERVICE && service.state == "stopped") {
            return Ok(());
        }
        if tokio::time::Instant::now() > deadline {
            return Err(Status::deadline_exceeded("the control plane did not stop in time"));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

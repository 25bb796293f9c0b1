use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rk_shim_protocol::{Exit, Process, Reply, Request};

use super::call::{Connection, call};
use crate::error::{Error, Result};

/// A process running in a container. Dropped before its end, it is killed.
pub(crate) struct Exec {
    connection: Connection,
    dir: PathBuf,
    pid: i32,
    ended: bool,
    /// The terminal's master, if it has one.
    pub terminal: Option<OwnedFd>,
}

/// Runs `process`; `stdio` are stdin, stdout and stderr, or nothing for a terminal.
pub(crate) async fn exec(dir: &Path, process: Process, stdio: Vec<OwnedFd>) -> Result<Exec> {
    let mut connection = Connection::open(dir).await?;
    connection.send(&Request::Exec(Box::new(process)), &stdio).await?;
    drop(stdio);
    match connection.answer().await {
        Ok(Reply::Started { pid, .. }) => {
            let terminal = connection.take_fd();
            Ok(Exec { connection, dir: dir.to_owned(), pid, ended: false, terminal })
        }
        Ok(other) => Err(Error::Internal(format!("the shim answered {other:?} to an exec"))),
        Err(Error::Start(reason)) => Err(Error::Internal(format!(
            "failed to exec in container: OCI runtime exec failed: exec failed: unable to start container process: {reason}"
        ))),
        Err(error) => Err(error),
    }
}

impl Exec {
    /// Waits for its end.
    pub async fn wait(&mut self) -> Result<Exit> {
        let reply = self.connection.receive().await?;
        self.ended = true;
        match reply {
            Some(Reply::ExecExited(exit)) => Ok(exit),
            Some(other) => Err(Error::Internal(format!("the shim sent {other:?} about an exec"))),
            None => Err(Error::Internal("the pod's shim died while a command ran in it".into())),
        }
    }

    /// Kills it.
    pub async fn kill(&self) {
        let _ = call(&self.dir, &Request::KillExec { pid: self.pid }).await;
    }
}

impl Drop for Exec {
    fn drop(&mut self) {
        if !self.ended {
            let (dir, pid) = (std::mem::take(&mut self.dir), self.pid);
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                runtime.spawn(async move { call(&dir, &Request::KillExec { pid }).await });
            }
        }
    }
}

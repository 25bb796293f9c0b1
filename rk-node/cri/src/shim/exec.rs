use futures::FutureExt as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rk_shim_protocol::{Exit, Process, Reply, Request};

use super::call::{Connection, call};
use crate::error::{Error, Result};

/// How long a killed process may take to go: one that hangs in the kernel is not waited for.
const KILL_PATIENCE: Duration = Duration::from_secs(5);

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

    /// Kills it. Who looks for it afterwards finds nothing of it.
    pub async fn kill(&mut self) {
        let _ = call(&self.dir, &Request::KillExec { pid: self.pid }).await;
        let _ = tokio::time::timeout(KILL_PATIENCE, self.wait()).await;
    }
}

impl Drop for Exec {
    fn drop(&mut self) {
        if !self.ended {
            let (dir, pid) = (std::mem::take(&mut self.dir), self.pid);
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                runtime.spawn(async move { call(&dir, &Request::KillExec { pid }).await }.boxed());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use rk_shim_protocol::socket;
    use tokio::net::UnixListener;

    use super::*;
    use crate::rig::{request, say};

    #[tokio::test]
    async fn a_command_that_was_killed_has_gone_when_that_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(socket(dir.path())).unwrap();
        let gone = Cell::new(false);
        let shim = async {
            let (mut client, _) = listener.accept().await.unwrap();
            assert!(matches!(request(&mut client).await, Request::Exec(_)));
            say(&mut client, &Reply::Started { pid: 7, started_at: 1 }).await;
            let (mut killer, _) = listener.accept().await.unwrap();
            assert_eq!(request(&mut killer).await, Request::KillExec { pid: 7 });
            say(&mut killer, &Reply::Ok).await;
            // Whoever waits for no more than that is not kept from going on.
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            gone.set(true);
            say(&mut client, &Reply::ExecExited(Exit::default())).await;
            client
        };
        let killing = async {
            let process = Process { container: "c".into(), process: serde_json::Value::Null, tty: false, size: None };
            let mut started = exec(dir.path(), process, Vec::new()).await.unwrap();
            started.kill().await;
            assert!(gone.get(), "it was not waited for");
        };
        tokio::join!(shim, killing);
    }
}

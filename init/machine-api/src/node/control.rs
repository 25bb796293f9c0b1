//! The client of PID 1's socket.

use rk_supervise::control::{MOST_REPLY, Request, SOCKET, Status};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::net::UnixDatagram;

/// Opening a disk derives keys, which takes long on purpose.
const UNLOCKING: Duration = Duration::from_secs(300);
/// PID 1 answers within a turn of its loop; a turn may write a config to a slow disk.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why PID 1 did not do it.
#[derive(Debug, thiserror::Error)]
pub enum Pid1Error {
    /// No answer came.
    #[error("PID 1 did not answer {request:?}")]
    Silent {
        /// What it was asked.
        request: String,
        /// What the socket said.
        source: std::io::Error,
    },
    /// It said no.
    #[error("{0}")]
    Refused(String),
}

impl From<Pid1Error> for tonic::Status {
    fn from(err: Pid1Error) -> tonic::Status {
        match err {
            Pid1Error::Silent { .. } => tonic::Status::unavailable(crate::log::chain(&err)),
            Pid1Error::Refused(reason) => tonic::Status::failed_precondition(reason),
        }
    }
}

/// PID 1, as this process sees it.
#[derive(Debug)]
pub struct Pid1 {
    socket: PathBuf,
    next: AtomicU32,
}

impl Default for Pid1 {
    fn default() -> Self {
        Pid1::at(Path::new(SOCKET))
    }
}

impl Pid1 {
    /// The one that listens at this path.
    pub fn at(socket: &Path) -> Pid1 {
        Pid1 { socket: socket.to_owned(), next: AtomicU32::new(0) }
    }

    /// Asks, and waits for the answer's text.
    ///
    /// # Errors
    /// It is silent, or it refuses.
    pub async fn ask(&self, request: &Request) -> Result<String, Pid1Error> {
        let failed = |source| Pid1Error::Silent { request: request.to_string(), source };
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let own = self.socket.with_extension(format!("{}-{number}.client", std::process::id()));
        let _ = std::fs::remove_file(&own);
        let socket = UnixDatagram::bind(&own).map_err(failed)?;
        let patience = if *request == Request::Unlock { UNLOCKING } else { PATIENCE };
        let answer = tokio::time::timeout(patience, exchange(&socket, &self.socket, request)).await;
        let _ = std::fs::remove_file(&own);
        let answer = match answer {
            Ok(answer) => answer.map_err(failed)?,
            Err(_) => return Err(failed(std::io::ErrorKind::TimedOut.into())),
        };
        let (verdict, text) = answer.split_once('\n').unwrap_or((&answer, ""));
        match verdict.strip_prefix("error ") {
            Some(reason) => Err(Pid1Error::Refused(reason.to_owned())),
            None => Ok(text.to_owned()),
        }
    }

    /// Its own account of the node.
    ///
    /// # Errors
    /// It is silent.
    pub async fn status(&self) -> Result<Status, Pid1Error> {
        Ok(Status::decode(&self.ask(&Request::Status).await?))
    }
}

async fn exchange(socket: &UnixDatagram, to: &Path, request: &Request) -> std::io::Result<String> {
    socket.send_to(request.to_string().as_bytes(), to).await?;
    let mut buffer = vec![0; MOST_REPLY + 64];
    let size = socket.recv(&mut buffer).await?;
    buffer.truncate(size);
    Ok(String::from_utf8_lossy(&buffer).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_and_refusals_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("init.sock");
        let pid1 = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
        let thread = std::thread::spawn(move || {
            for answer in ["ok\nbody\n", "error no service is named x"] {
                let mut buffer = [0; 256];
                let (_, from) = pid1.recv_from(&mut buffer).unwrap();
                pid1.send_to(answer.as_bytes(), from.as_pathname().unwrap()).unwrap();
            }
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client = Pid1::at(&path);
            assert_eq!(client.ask(&Request::Status).await.unwrap(), "body\n");
            let refused = client.ask(&Request::Restart("x".to_owned())).await.unwrap_err();
            assert!(matches!(&refused, Pid1Error::Refused(reason) if reason == "no service is named x"), "{refused}");
        });
        thread.join().unwrap();
        // No socket of the client is left behind.
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}

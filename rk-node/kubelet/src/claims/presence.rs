//! Whether somebody serves behind a socket: a connection that is only held, and ends with who is at the other end.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http2;
use hyper_util::rt::TokioExecutor;
use tokio::net::UnixStream;

use crate::wire::wire;

/// Between a connection that has ended, or could not be made, and the next.
const AGAIN: Duration = Duration::from_secs(1);

/// Tells when somebody is there and when nobody is any more, for ever or until nobody listens: `tell` answers with whether to go on.
pub(super) async fn watch(socket: PathBuf, tell: impl Fn(bool) -> bool) {
    loop {
        if let Err(error) = hold(&socket, &tell).await {
            tracing::debug!(socket = %socket.display(), "nobody is behind a plugin's socket: {error}");
        }
        if !tell(false) {
            return;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Connects, tells so, and returns when the connection has ended.
async fn hold(socket: &Path, tell: &impl Fn(bool) -> bool) -> Result<(), String> {
    let stream = UnixStream::connect(socket).await.map_err(|error| error.to_string())?;
    let made = http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), wire(stream)).await;
    let (_requests, connection) = made.map_err(|error| error.to_string())?;
    if tell(true) { connection.await.map_err(|error| error.to_string()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::UnixListener;
    use tokio::sync::mpsc;

    #[tokio::test]
    async fn who_goes_is_missed_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("a.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let (sender, mut told) = mpsc::unbounded_channel();
        let watching = tokio::spawn(watch(socket, move |here| sender.send(here).is_ok()));
        let (connection, _) = listener.accept().await.unwrap();
        assert_eq!(told.recv().await, Some(true));
        drop((connection, listener));
        assert_eq!(told.recv().await, Some(false));
        drop(told);
        watching.await.unwrap();
    }
}

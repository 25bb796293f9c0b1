//! What handlers send, on its way to the client.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWrite;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::JoinHandle;
use tokio_util::sync::PollSender;

/// How many chunks one stream buffers towards the client before its sender waits.
pub(crate) const CHUNKS: usize = 16;
/// Largest piece of data that one frame or message carries.
pub(crate) const CHUNK_BYTES: usize = 32 * 1024;
/// How long a client may take to hang up after a session ended, and the last bytes to leave once it has.
const LINGER: Duration = Duration::from_secs(10);
/// How often a client hears that it is not forgotten while nothing is read from it; kubectl gives up after 61 s without a pong.
pub(crate) const STANDSTILL: Duration = Duration::from_secs(15);

/// A piece of output on its way to the connection's writer.
#[derive(Debug)]
pub(crate) enum Output {
    /// Bytes for one stream.
    Data(u32, Bytes),
    /// No more bytes will follow on this stream.
    End(u32),
    /// A sign of life.
    Alive,
}

/// Carries bytes to the client on one stream; `shutdown` half-closes it.
#[derive(Debug)]
pub struct ByteWriter {
    stream: u32,
    sender: PollSender<Output>,
    ended: bool,
}

impl ByteWriter {
    pub(crate) fn new(stream: u32, sender: mpsc::Sender<Output>) -> Self {
        Self { stream, sender: PollSender::new(sender), ended: false }
    }

    fn send(&mut self, cx: &mut Context<'_>, output: impl FnOnce(u32) -> Output) -> Poll<io::Result<()>> {
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the client has gone");
        ready!(self.sender.poll_reserve(cx)).map_err(gone)?;
        let output = output(self.stream);
        Poll::Ready(self.sender.send_item(output).map_err(gone))
    }
}

impl AsyncWrite for ByteWriter {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let count = data.len().min(CHUNK_BYTES);
        ready!(self.send(cx, |stream| Output::Data(stream, Bytes::copy_from_slice(&data[..count]))))?;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.ended {
            ready!(self.send(cx, Output::End))?;
            self.ended = true;
        }
        Poll::Ready(Ok(()))
    }
}

/// Waits until there is room for more; meanwhile pings go unread, and the client hears that the connection lives all the same. Nothing
/// when it hears no more: its end stands behind what is not read.
pub(crate) async fn beating(put: impl Future<Output = bool>, outputs: &mpsc::WeakSender<Output>) -> Option<bool> {
    let mut put = std::pin::pin!(put);
    loop {
        if let Ok(read) = tokio::time::timeout(STANDSTILL, &mut put).await {
            return Some(read);
        }
        // Where output waits, the client does not read.
        let told = outputs.upgrade().map(|outputs| outputs.try_send(Output::Alive));
        if let Some(Err(TrySendError::Closed(_))) = told {
            return None;
        }
    }
}

/// Waits until the last bytes of a session are sent, as fast as the client takes them: it may have paused. Then waits a little for it to
/// hang up, which ends `reader`. A client that has hung up takes bytes for a little longer and no more.
pub(crate) async fn see_off(sending: impl Future<Output = ()>, mut reader: JoinHandle<()>) {
    let gone = async {
        if !reader.is_finished() {
            let _ = (&mut reader).await;
        }
        tokio::time::sleep(LINGER).await;
    };
    tokio::select! {
        () = sending => {}
        () = gone => {}
    }
    if !reader.is_finished() {
        let _ = tokio::time::timeout(LINGER, &mut reader).await;
    }
    reader.abort();
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::{spdy, websocket};

    const LAST: [u8; 4096] = [7; 4096];

    /// How much a client gets that pauses for an hour before it reads, and so has the end of its session wait.
    async fn heard(finish: impl Future<Output = ()> + Send + 'static, mut client: tokio::io::DuplexStream) -> usize {
        let finishing = tokio::spawn(finish);
        // Of a clock that stands still until nobody has anything to do.
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let mut all = Vec::new();
        client.read_to_end(&mut all).await.unwrap();
        drop(client);
        finishing.await.unwrap();
        all.len()
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_pauses_loses_nothing_of_what_comes_last() {
        let (client, server) = tokio::io::duplex(64);
        let connection = spdy::Connection::start(server);
        connection.writer(1).write_all(&LAST).await.unwrap();
        assert!(heard(connection.finish([1]), client).await > LAST.len(), "SPDY");
        let (client, server) = tokio::io::duplex(64);
        let (connection, _) = websocket::Connection::start(server, websocket::Encoding::Binary, &[]).await;
        connection.writer(1).write_all(&LAST).await.unwrap();
        assert!(heard(connection.finish(), client).await > LAST.len(), "WebSocket");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_has_gone_is_not_waited_for() {
        let (client, server) = tokio::io::duplex(64);
        let connection = spdy::Connection::start(server);
        connection.writer(1).write_all(&LAST).await.unwrap();
        // It says that it has gone, and takes nothing.
        let (_from, mut to) = tokio::io::split(client);
        to.shutdown().await.unwrap();
        tokio::time::timeout(LINGER * 3, connection.finish([1])).await.expect("it is waited for");
    }
}

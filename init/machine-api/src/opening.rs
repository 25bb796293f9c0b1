//! A caller who opens a connection has to begin to speak HTTP/2 on it soon: the server waits for that without bound, and pings come later.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Sleep;

/// Bytes that HTTP/2 begins with (RFC 9113, section 3.4).
const PREFACE: usize = 24;

/// How much of the beginning is missing, and until when it may.
#[derive(Debug)]
pub struct Opening {
    missing: usize,
    until: Pin<Box<Sleep>>,
}

impl Opening {
    /// Of a connection that is there now.
    pub fn within(time: Duration) -> Opening {
        Opening { missing: PREFACE, until: Box::pin(tokio::time::sleep(time)) }
    }

    /// Reads from the connection; fails when it is silent and its beginning should be there.
    pub fn poll_read<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(stream).poll_read(cx, buf);
        self.missing = self.missing.saturating_sub(buf.filled().len().saturating_sub(before));
        if read.is_ready() || self.missing == 0 {
            return read;
        }
        let silent = || io::Error::new(io::ErrorKind::TimedOut, "a client did not begin to speak HTTP/2");
        self.until.as_mut().poll(cx).map(|()| Err(silent()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    const SOON: Duration = Duration::from_millis(50);

    /// Reads until more came than HTTP/2 begins with.
    async fn read(opening: &mut Opening, stream: &mut tokio::io::DuplexStream) -> io::Result<usize> {
        let mut taken = 0;
        while taken <= PREFACE {
            let mut bytes = [0; 10];
            let mut buf = ReadBuf::new(&mut bytes);
            std::future::poll_fn(|cx| opening.poll_read(stream, cx, &mut buf)).await?;
            taken += buf.filled().len();
        }
        Ok(taken)
    }

    /// What the preface of so many bytes comes to; nothing when it takes longer than `wait`.
    async fn read_after(said: usize, wait: Duration) -> Option<io::Result<usize>> {
        let (mut caller, mut stream) = tokio::io::duplex(100);
        let mut opening = Opening::within(SOON);
        caller.write_all(&vec![b'P'; said]).await.unwrap();
        tokio::time::timeout(wait, read(&mut opening, &mut stream)).await.ok()
    }

    #[tokio::test]
    async fn who_says_nothing_or_too_little_is_hung_up_on() {
        for said in [0, 1, PREFACE - 1] {
            let ended = read_after(said, SOON * 200).await;
            assert!(matches!(&ended, Some(Err(err)) if err.kind() == io::ErrorKind::TimedOut), "{said}: {ended:?}");
        }
    }

    #[tokio::test]
    async fn who_began_may_be_silent_for_longer() {
        assert!(read_after(PREFACE, SOON * 4).await.is_none());
        assert!(matches!(read_after(PREFACE + 1, SOON * 200).await, Some(Ok(25))));
    }
}

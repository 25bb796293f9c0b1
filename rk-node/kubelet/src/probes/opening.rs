//! What a peer says first, kept while TLS reads it: by that it is told who does not speak TLS but HTTP.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// How an answer in HTTP begins.
const HTTP: &[u8] = b"HTTP/";

/// A connection that keeps the first bytes that came.
pub struct Opening {
    stream: TcpStream,
    first: Vec<u8>,
}

impl Opening {
    /// Of a connection from which nothing was read yet.
    pub fn of(stream: TcpStream) -> Self {
        Self { stream, first: Vec::new() }
    }

    /// Whether the peer has begun to answer in HTTP.
    pub fn is_http(&self) -> bool {
        !self.first.is_empty() && HTTP.starts_with(&self.first)
    }
}

impl AsyncRead for Opening {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        let missing = HTTP.len().saturating_sub(self.first.len());
        let came = buf.filled().get(before..).unwrap_or_default();
        self.first.extend(came.iter().take(missing));
        read
    }
}

impl AsyncWrite for Opening {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

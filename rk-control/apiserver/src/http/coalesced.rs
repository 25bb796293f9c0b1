//! One write for what many streams of a connection say at the same time.
//!
//! HTTP/2 flushes after nearly every frame: a hundred watchers of a connection would cost a hundred TLS records and as many calls
//! of the kernel for each event. A [`Coalesced`] stream keeps what is written in a bounded buffer. [`Turns`] drives the
//! connection and looks after each poll whether something was kept: the first time it puts the task behind those that are ready,
//! whose frames then come along, and at the end of that next poll it writes everything. Where nobody is left to wait for it writes at
//! once. That does not depend on when HTTP/2 flushes: nothing stays behind as long as the connection is driven.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Most bytes that wait for a write: four TLS records, which rustls takes at once and hands to the kernel in one call.
const LIMIT: usize = 64 * 1024;

/// Wraps a stream. Without `gather` writes go straight through, as a connection needs that is handed on after an upgrade.
pub(super) fn coalesced<S>(stream: S, gather: bool) -> (Coalesced<S>, Turns<S>) {
    let state = State {
        stream,
        gather,
        buffer: Vec::new(),
        written: 0,
        most: 0,
        usual: 0,
        unflushed: false,
        due: false,
        error: None,
    };
    let shared = Arc::new(Mutex::new(state));
    (Coalesced(Arc::clone(&shared)), Turns(shared))
}

/// A stream whose writes are gathered; its [`Turns`] must drive whoever writes.
pub(super) struct Coalesced<S>(Arc<Mutex<State<S>>>);

/// Writes what was gathered, after the polls of the one task that reads and writes the stream.
pub(super) struct Turns<S>(Arc<Mutex<State<S>>>);

struct State<S> {
    stream: S,
    gather: bool,
    /// What was taken, from `written` on not yet written; never longer than [`LIMIT`].
    buffer: Vec<u8>,
    written: usize,
    /// How much was kept at most since the buffer was made.
    most: usize,
    /// How much the last buffer kept at most: the room that the next one begins with, since what was said is likely to be said again.
    usual: usize,
    /// The stream was written to and not flushed since.
    unflushed: bool,
    /// The task was given its turn behind the others, or the stream will wake it: what is there is written at the end of this poll.
    due: bool,
    /// Met at the end of a poll, for the next write, flush or shutdown.
    error: Option<io::Error>,
}

// Only one task touches the state at a time; the lock is there for the type system.
fn lock<S>(shared: &Mutex<State<S>>) -> MutexGuard<'_, State<S>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: AsyncWrite + Unpin> Turns<S> {
    /// Polls the connection over the [`Coalesced`] stream once. Whether `all` have spoken who were likely to, the caller knows.
    pub(super) fn poll<F: Future>(&self, connection: Pin<&mut F>, all: bool, cx: &mut Context<'_>) -> Poll<F::Output> {
        let outcome = connection.poll(cx);
        let mut state = lock(&self.0);
        if outcome.is_pending() {
            state.end_turn(all, cx);
        } else {
            state.end(cx);
        }
        outcome
    }
}

impl<S: AsyncWrite + Unpin> State<S> {
    /// Takes what fits; a full buffer is written first.
    fn write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.refuse_failed()?;
        if !self.gather {
            ready!(self.drain(cx))?;
            return Pin::new(&mut self.stream).poll_write(cx, bytes);
        }
        if self.buffer.len() >= LIMIT {
            ready!(self.drain(cx))?;
        }
        let taken = bytes.len().min(LIMIT - self.buffer.len());
        if self.buffer.capacity() == 0 {
            self.buffer.reserve_exact(self.usual);
        }
        self.buffer.extend_from_slice(bytes.get(..taken).unwrap_or_default());
        self.most = self.most.max(self.buffer.len());
        Poll::Ready(Ok(taken))
    }

    /// Answers at once for what is kept, since the end of the poll looks after it.
    fn flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.refuse_failed()?;
        if !self.gather {
            ready!(self.drain(cx))?;
            self.unflushed = false;
        } else if self.owes() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// The stream is closed after what was kept is in it.
    fn shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.refuse_failed()?;
        ready!(self.drain(cx))?;
        self.unflushed = false;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn end_turn(&mut self, all: bool, cx: &mut Context<'_>) {
        if !self.owes() {
            self.due = false;
            return;
        }
        if !self.due && !all {
            self.due = true;
            cx.waker().wake_by_ref();
            return;
        }
        if let Poll::Ready(Err(error)) = self.settle(cx) {
            // Whoever writes is told: every poll of the connection ends with a flush.
            self.error = Some(error);
            cx.waker().wake_by_ref();
        }
    }

    /// The connection is over. Who has the stream now, if it was upgraded, drives it without turns; what cannot be written at once
    /// goes before the next write.
    fn end(&mut self, cx: &mut Context<'_>) {
        self.gather = false;
        // An error that matters comes again with that write.
        let _ = self.settle(cx);
    }

    /// Writes and flushes everything; when that is pending, the stream wakes the task.
    fn settle(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.drain(cx))?;
        self.forget();
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.unflushed = flushed.is_pending();
        self.due = flushed.is_pending();
        flushed
    }

    /// Writes the whole buffer.
    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.buffer.len() {
            self.unflushed = true;
            let rest = self.buffer.get(self.written..).unwrap_or_default();
            match Pin::new(&mut self.stream).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(self.fail(io::ErrorKind::WriteZero.into()))),
                Poll::Ready(Ok(written)) => self.written += written,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.fail(error))),
                Poll::Pending => {
                    self.due = true;
                    return Poll::Pending;
                }
            }
        }
        // Its room is for what else is said in this turn.
        self.buffer.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    fn owes(&self) -> bool {
        self.unflushed || !self.buffer.is_empty()
    }

    fn refuse_failed(&mut self) -> io::Result<()> {
        self.error.take().map_or(Ok(()), Err)
    }

    /// Nothing more can be written.
    fn fail(&mut self, error: io::Error) -> io::Error {
        self.forget();
        self.unflushed = false;
        error
    }

    /// Frees the buffer: most connections are idle most of the time.
    fn forget(&mut self) {
        self.buffer = Vec::new();
        self.written = 0;
        self.usual = std::mem::take(&mut self.most);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Coalesced<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut lock(&self.0).stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Coalesced<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        lock(&self.0).write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut state = lock(&self.0);
        if !state.gather && !state.owes() {
            return Pin::new(&mut state.stream).poll_write_vectored(cx, bufs);
        }
        let first = bufs.iter().find(|buf| !buf.is_empty()).map_or(&[][..], |buf| &**buf);
        state.write(cx, first)
    }

    // HTTP/2 then copies frames of up to a kilobyte into one piece instead of writing their heads by themselves.
    fn is_write_vectored(&self) -> bool {
        let state = lock(&self.0);
        !state.gather && state.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        lock(&self.0).flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        lock(&self.0).shutdown(cx)
    }
}

#[cfg(test)]
mod tests;

//! What clients send, on its way to the handlers, and how much of it is held.
//!
//! A connection reads on while a handler does not: pings come behind what the handler has not taken, and are to be answered. Neither
//! protocol can hold back one stream alone, so what is held has one bound for all streams of a connection; beyond it nothing is read.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Most bytes that a connection holds. Upstream's SPDY server holds 50 frames, of 32 KiB as its clients send them.
pub(crate) const READ_AHEAD: usize = 2 * 1024 * 1024;
/// What a piece counts for besides its bytes: the smallest ones take memory, too.
const PIECE: usize = 512;

/// A piece of what a client sent, and the room that it takes.
#[derive(Debug)]
struct Piece {
    data: Bytes,
    _room: OwnedSemaphorePermit,
}

/// The room that the streams of one connection share.
#[derive(Clone, Debug)]
pub(crate) struct Room(Arc<Semaphore>);

impl Room {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(READ_AHEAD)))
    }

    /// Both ends of a new stream.
    pub(crate) fn stream(&self) -> (Inlet, ByteReader) {
        let (sender, pieces) = mpsc::unbounded_channel();
        (Inlet { room: self.clone(), pieces: sender }, ByteReader { pieces, rest: None })
    }
}

/// Where a connection puts what comes on one stream; dropped, it ends the stream.
#[derive(Debug)]
pub(crate) struct Inlet {
    room: Room,
    pieces: mpsc::UnboundedSender<Piece>,
}

impl Inlet {
    /// Whether its handler has stopped reading.
    pub(crate) fn is_unread(&self) -> bool {
        self.pieces.is_closed()
    }

    /// Passes a piece on once there is room for it; false when the handler has stopped reading. What is held is a copy: a piece of a
    /// buffer would keep all of that.
    pub(crate) async fn put(&self, data: &[u8]) -> bool {
        if data.is_empty() {
            return true;
        }
        let size = u32::try_from((data.len() + PIECE).min(READ_AHEAD)).unwrap_or(u32::MAX);
        let room = tokio::select! {
            biased;
            () = self.pieces.closed() => return false,
            room = Arc::clone(&self.room.0).acquire_many_owned(size) => room,
        };
        room.is_ok_and(|room| self.pieces.send(Piece { data: Bytes::copy_from_slice(data), _room: room }).is_ok())
    }
}

/// What the client sent on one stream, in order; ends when the client closed its side or went away.
#[derive(Debug)]
pub struct ByteReader {
    pieces: mpsc::UnboundedReceiver<Piece>,
    rest: Option<Piece>,
}

impl AsyncRead for ByteReader {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut piece = match self.rest.take() {
            Some(piece) => piece,
            None => match ready!(self.pieces.poll_recv(cx)) {
                Some(piece) => piece,
                None => return Poll::Ready(Ok(())),
            },
        };
        let count = out.remaining().min(piece.data.len());
        out.put_slice(&piece.data[..count]);
        piece.data.advance(count);
        // What was taken whole takes no room any more.
        self.rest = Some(piece).filter(|piece| !piece.data.is_empty());
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncReadExt as _;

    use super::*;

    /// What comes of it, if that is soon.
    async fn soon(put: impl Future<Output = bool>) -> Option<bool> {
        tokio::time::timeout(Duration::from_secs(1), put).await.ok()
    }

    #[tokio::test(start_paused = true)]
    async fn streams_of_a_connection_share_what_is_held_and_a_handler_that_stops_gives_it_back() {
        let room = Room::new();
        let ((one, mut reader), (other, unread)) = (room.stream(), room.stream());
        let half = vec![7; READ_AHEAD / 2 - PIECE];
        assert_eq!(soon(one.put(&half)).await, Some(true));
        assert_eq!(soon(other.put(&half)).await, Some(true));
        assert_eq!(soon(one.put(&half)).await, None, "there is no room");
        reader.read_exact(&mut vec![0; READ_AHEAD / 2 - PIECE]).await.unwrap();
        assert_eq!(soon(one.put(&half)).await, Some(true), "what was taken has made room");
        drop(unread);
        assert_eq!(soon(other.put(&half)).await, Some(false), "its handler has stopped");
        assert_eq!(soon(one.put(&half)).await, Some(true), "what nobody will read takes none");
        drop(one);
        let mut rest = Vec::new();
        assert_eq!(reader.read_to_end(&mut rest).await.unwrap(), READ_AHEAD - 2 * PIECE);
    }

    #[tokio::test(start_paused = true)]
    async fn small_pieces_are_counted_and_one_that_is_larger_than_all_room_passes() {
        let room = Room::new();
        let (inlet, mut reader) = room.stream();
        assert!(inlet.put(&vec![7; 2 * READ_AHEAD]).await);
        reader.read_exact(&mut vec![0; 2 * READ_AHEAD]).await.unwrap();
        let mut pieces = 0;
        while soon(inlet.put(b"x")).await == Some(true) {
            pieces += 1;
        }
        assert_eq!(pieces, READ_AHEAD / (PIECE + 1));
    }
}

//! One connection of the CRI server.

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Result, bail};
use rk_shim_protocol::{Decoder, Reply, Request, encode};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};

/// Descriptors that a request may carry; the largest, exec, has three.
const MAX_FDS: usize = 4;
/// Replies that may wait for a slow reader before it is cut off. Exits of a pod's containers are far fewer.
const MAX_WAITING: usize = 256;

/// A connection with what was read and what waits to be written.
#[derive(Debug)]
pub struct Client {
    socket: OwnedFd,
    decoder: Decoder,
    received: VecDeque<OwnedFd>,
    waiting: VecDeque<(Vec<u8>, Option<OwnedFd>)>,
    /// Whether it gets every exit.
    pub subscribed: bool,
}

impl Client {
    /// Takes over an accepted, non-blocking socket.
    pub fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            decoder: Decoder::default(),
            received: VecDeque::new(),
            waiting: VecDeque::new(),
            subscribed: false,
        }
    }

    /// For polling: writable interest is needed while [`Client::lags`].
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Whether replies wait.
    pub fn lags(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Reads what is there. `Ok(false)`: the peer closed.
    pub fn read(&mut self) -> Result<bool> {
        let mut buffer = [0u8; 16 * 1024];
        loop {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let read =
                recvmsg(&self.socket, &mut [IoSliceMut::new(&mut buffer)], &mut ancillary, RecvFlags::CMSG_CLOEXEC);
            let n = match read {
                Ok(message) => message.bytes,
                Err(Errno::AGAIN) => return Ok(true),
                Err(Errno::INTR) => continue,
                Err(error) => bail!("read from a client: {error}"),
            };
            for message in ancillary.drain() {
                if let RecvAncillaryMessage::ScmRights(fds) = message {
                    self.received.extend(fds);
                }
            }
            if self.received.len() > MAX_FDS {
                bail!("a client sent more than {MAX_FDS} descriptors");
            }
            if n == 0 {
                return Ok(false);
            }
            self.decoder.push(buffer.get(..n).unwrap_or_default());
        }
    }

    /// The next whole request.
    pub fn request(&mut self) -> Result<Option<Request>> {
        Ok(self.decoder.take()?)
    }

    /// The next `N` descriptors that came with the request; `None` if fewer came.
    pub fn take_fds<const N: usize>(&mut self) -> Option<[OwnedFd; N]> {
        let fds: Vec<OwnedFd> = self.received.drain(..).collect();
        fds.try_into().ok()
    }

    /// Queues a reply, with a descriptor beside it, and writes what it can. `false`: drop this client.
    pub fn send(&mut self, reply: &Reply, fd: Option<OwnedFd>) -> bool {
        let Ok(frame) = encode(reply) else { return false };
        if self.waiting.len() >= MAX_WAITING {
            return false;
        }
        self.waiting.push_back((frame, fd));
        self.flush()
    }

    /// Writes what it can. `false`: the client is gone.
    pub fn flush(&mut self) -> bool {
        while let Some((frame, fd)) = self.waiting.front_mut() {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            let carried = fd.as_ref().map(|fd| [fd.as_fd()]);
            if let Some(carried) = &carried {
                ancillary.push(SendAncillaryMessage::ScmRights(carried));
            }
            match sendmsg(&self.socket, &[IoSlice::new(frame)], &mut ancillary, SendFlags::NOSIGNAL) {
                Ok(n) => {
                    frame.drain(..n);
                    *fd = None;
                    if frame.is_empty() {
                        self.waiting.pop_front();
                    }
                }
                Err(Errno::AGAIN) => return true,
                Err(Errno::INTR) => {}
                Err(_) => return false,
            }
        }
        true
    }
}

//! Copies of a container's output for attached clients.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

/// How far an attached client may lag behind before it is dropped: a slow reader must neither stop the container nor fill memory.
const MAX_BACKLOG: usize = 256 * 1024;

/// The write end of one client's pipe.
#[derive(Debug)]
pub struct Sink {
    fd: OwnedFd,
    backlog: Vec<u8>,
}

impl Sink {
    /// Takes over `fd`, made non-blocking.
    pub fn new(fd: OwnedFd) -> std::io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(Self { fd, backlog: Vec::new() })
    }

    /// For polling: writable interest is needed while [`Sink::lags`].
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Whether bytes wait.
    pub fn lags(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Queues `bytes` and writes what it can. `false`: drop this client.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        if self.backlog.len() + bytes.len() > MAX_BACKLOG {
            return false;
        }
        self.backlog.extend_from_slice(bytes);
        self.flush()
    }

    /// Writes what it can. `false`: the client is gone.
    pub fn flush(&mut self) -> bool {
        while !self.backlog.is_empty() {
            match rustix::io::write(&self.fd, &self.backlog) {
                Ok(0) => return false,
                Ok(n) => drop(self.backlog.drain(..n)),
                Err(Errno::AGAIN) => return true,
                Err(Errno::INTR) => {}
                Err(_) => return false,
            }
        }
        self.backlog = Vec::new();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_does_not_read_is_dropped_at_the_bound_and_a_gone_one_at_once() {
        let _alone = crate::PROGRAMS.lock();
        let (read, write) = rustix::pipe::pipe().unwrap();
        let mut sink = Sink::new(write).unwrap();
        let chunk = [0u8; 4096];
        let sent = (0..10_000).take_while(|_| sink.send(&chunk)).count() * chunk.len();
        assert!((MAX_BACKLOG..MAX_BACKLOG + 2 * 1024 * 1024).contains(&sent), "{sent}");
        drop(read);
        assert!(!sink.flush());
    }
}

//! The socket on which libcontainer hands over a terminal's master.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, accept_with, recvmsg};

use crate::daemon::listen_at;

/// A socket that waits for one terminal. Its file is gone once it is dropped.
#[derive(Debug)]
pub struct Console {
    listener: OwnedFd,
    path: PathBuf,
}

impl Console {
    /// Listens at `path`, in the place of what is there.
    pub fn listen(path: PathBuf) -> Result<Self> {
        let listener = listen_at(&path, 1)?;
        Ok(Self { listener, path })
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the master, without a wait: once the worker has reported, the connection and the master on it are there.
    pub fn master(self) -> Result<OwnedFd> {
        let peer =
            accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK).context("accept the console")?;
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut name = [0u8; 64];
        recvmsg(&peer, &mut [std::io::IoSliceMut::new(&mut name)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)
            .context("receive the terminal")?;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(mut fds) = message
                && let Some(fd) = fds.next()
            {
                return Ok(fd);
            }
        }
        Err(anyhow!("no terminal came"))
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    use std::io::IoSlice;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_terminal_comes_over_a_socket_whose_file_goes_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("e1.sock");
        let console = Console::listen(path.clone()).unwrap();
        let peer = UnixStream::connect(console.path()).unwrap();
        let (read, write) = rustix::pipe::pipe().unwrap();
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let carried = [write.as_fd()];
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&carried)));
        sendmsg(&peer, &[IoSlice::new(b"/dev/ptmx")], &mut ancillary, SendFlags::NOSIGNAL).unwrap();
        let master = console.master().unwrap();
        assert!(!path.exists());
        rustix::io::write(&master, b"x").unwrap();
        assert_eq!(rustix::io::read(&read, &mut [0u8; 2]), Ok(1), "it is what was sent");
    }

    #[test]
    fn a_terminal_that_does_not_come_is_not_waited_for_and_leaves_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("e1.sock");
        std::fs::write(&path, "a leftover").unwrap();
        let console = Console::listen(path.clone()).unwrap();
        assert!(console.master().is_err());
        assert!(!path.exists());
    }
}

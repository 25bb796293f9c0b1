//! Whole frames of a link, for looking at.

use crate::error::{Result, SysError};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

const ETH_P_ALL: u16 = 0x0003;

/// A socket that hears every frame of one link, coming and going. It never waits.
#[derive(Debug)]
pub struct CaptureSocket {
    fd: OwnedFd,
    link: String,
}

impl CaptureSocket {
    /// Opens it on the link of this name; promiscuous, frames for others are heard too, until it is dropped.
    ///
    /// # Errors
    /// No such link, or no right to listen.
    pub fn open(link: &str, promiscuous: bool) -> Result<CaptureSocket> {
        let index =
            nix::net::if_::if_nametoindex(link).map_err(|errno| SysError::new("if_nametoindex", link, errno))?;
        let index = index.cast_signed();
        // Protocol 0: nothing is queued of other links before bind names this one.
        // SAFETY: no pointers; the result is checked.
        let raw =
            unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0) };
        if raw < 0 {
            return Err(SysError::last("socket", format!("capture on {link}")));
        }
        // SAFETY: `raw` was just made by us and has no other owner.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        let address = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: ETH_P_ALL.to_be(),
            sll_ifindex: index,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        // SAFETY: the pointer is to a live sockaddr_ll of the stated size.
        if unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), size_of_val(&address) as u32) } < 0 {
            return Err(SysError::last("bind", format!("capture on {link}")));
        }
        if promiscuous {
            let wanted = libc::packet_mreq {
                mr_ifindex: index,
                mr_type: libc::PACKET_MR_PROMISC as u16,
                mr_alen: 0,
                mr_address: [0; 8],
            };
            // SAFETY: the kernel reads one packet_mreq from the pointer, which is to a live struct of the stated size.
            let set = unsafe {
                libc::setsockopt(
                    fd.as_raw_fd(),
                    libc::SOL_PACKET,
                    libc::PACKET_ADD_MEMBERSHIP,
                    (&raw const wanted).cast(),
                    size_of_val(&wanted) as u32,
                )
            };
            if set < 0 {
                return Err(SysError::last("setsockopt PACKET_ADD_MEMBERSHIP", link));
            }
        }
        Ok(CaptureSocket { fd, link: link.to_owned() })
    }

    /// Takes a frame: the bytes that fit into `buffer`, and how long it was. `None` when there is none now.
    ///
    /// # Errors
    /// As `recv(2)`; a link that went away among them.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Result<Option<(usize, usize)>> {
        // SAFETY: the kernel writes at most `buffer.len()` bytes into the live buffer.
        let size =
            unsafe { libc::recv(self.fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_TRUNC) };
        match usize::try_from(size) {
            Ok(length) => Ok(Some((length.min(buffer.len()), length))),
            Err(_) => match io::Error::last_os_error() {
                err if matches!(err.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(None),
                err => Err(SysError::new("recv", &self.link, err)),
            },
        }
    }
}

impl AsFd for CaptureSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for CaptureSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

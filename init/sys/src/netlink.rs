//! A route netlink socket: bytes in, bytes out.

use crate::error::{Result, SysError};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, sendto, setsockopt, socket,
    sockopt,
};
use nix::sys::time::TimeVal;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// Changes of links, as a bit of the group mask.
pub const RTNLGRP_LINK: u32 = 1;
/// Changes of IPv4 addresses.
pub const RTNLGRP_IPV4_IFADDR: u32 = 0x10;
/// Changes of IPv4 routes.
pub const RTNLGRP_IPV4_ROUTE: u32 = 0x40;
/// Changes of IPv6 addresses.
pub const RTNLGRP_IPV6_IFADDR: u32 = 0x100;
/// Options of router advertisements that the kernel leaves to programs; group 20.
pub const RTNLGRP_ND_USEROPT: u32 = 0x8_0000;

/// A socket of family `NETLINK_ROUTE`.
#[derive(Debug)]
pub struct NetlinkSocket {
    fd: OwnedFd,
}

impl NetlinkSocket {
    /// Opens a socket that hears the groups of this mask (0: only answers). Reads wait at most two seconds.
    ///
    /// # Errors
    /// As `socket(2)`, `bind(2)`.
    pub fn open(groups: u32) -> Result<NetlinkSocket> {
        let failed = |errno| SysError::new("socket", "NETLINK_ROUTE", errno);
        let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)
            .map_err(failed)?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups)).map_err(failed)?;
        setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::from(timespec(Duration::from_secs(2)))).map_err(failed)?;
        Ok(NetlinkSocket { fd })
    }

    /// Sends one datagram to the kernel.
    ///
    /// # Errors
    /// As `sendto(2)`.
    pub fn send(&self, message: &[u8]) -> Result<()> {
        sendto(self.fd.as_raw_fd(), message, &NetlinkAddr::new(0, 0), MsgFlags::empty())
            .map(|_| ())
            .map_err(|errno| SysError::new("sendto", "NETLINK_ROUTE", errno))
    }

    /// Receives one datagram; `None` when the time is up, or when the kernel had to drop some (state must then be read again).
    ///
    /// # Errors
    /// As `recv(2)`.
    pub fn receive(&self, buffer: &mut [u8]) -> Result<Option<usize>> {
        match recv(self.fd.as_raw_fd(), buffer, MsgFlags::empty()) {
            Ok(size) => Ok(Some(size)),
            Err(Errno::EAGAIN | Errno::EINTR | Errno::ENOBUFS) => Ok(None),
            Err(errno) => Err(SysError::new("recv", "NETLINK_ROUTE", errno)),
        }
    }
}

impl AsFd for NetlinkSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn timespec(duration: Duration) -> nix::libc::timeval {
    nix::libc::timeval {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_usec: i64::from(duration.subsec_micros()),
    }
}

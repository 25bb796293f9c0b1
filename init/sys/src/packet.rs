//! Packets below IP for DHCP and announcements, and binding ordinary sockets to a link.

use crate::error::{Result, SysError};
use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const ETH_P_IP: u16 = 0x0800;

/// A socket that sends and receives IPv4 packets of one link, with the link header made and taken off by the kernel. It
/// hears UDP to one port only: the kernel filters the rest.
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
    link: i32,
}

impl PacketSocket {
    /// Opens the socket on the link of this index for UDP to `port`.
    ///
    /// # Errors
    /// As `socket(2)`, `setsockopt(2)`, `bind(2)`.
    pub fn open(link: u32, port: u16) -> Result<PacketSocket> {
        let object = format!("packet socket on link {link}");
        let link = i32::try_from(link)
            .map_err(|_| SysError::new("bind", &object, io::Error::from(io::ErrorKind::InvalidInput)))?;
        // Protocol 0: nothing is queued before the filter is in place; bind names the protocol.
        // SAFETY: no pointers; the result is checked.
        let raw =
            unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0) };
        if raw < 0 {
            return Err(SysError::last("socket", object));
        }
        // SAFETY: `raw` was just made by us and has no other owner.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        attach_filter(&fd, port).map_err(|err| SysError::new("setsockopt SO_ATTACH_FILTER", &object, err))?;
        let address = link_address(link, ETH_P_IP, [0; 6]);
        // SAFETY: the pointer is to a live sockaddr_ll of the stated size.
        let bound = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), size_of_val(&address) as u32) };
        if bound < 0 {
            return Err(SysError::last("bind", object));
        }
        Ok(PacketSocket { fd, link })
    }

    /// Sends an IPv4 packet to everyone on the link.
    ///
    /// # Errors
    /// As `sendto(2)`.
    pub fn broadcast(&self, packet: &[u8]) -> Result<()> {
        send(&self.fd, &link_address(self.link, ETH_P_IP, [0xff; 6]), packet)
    }

    /// Takes one packet into `buffer` if one is there; a longer one is cut.
    ///
    /// # Errors
    /// As `recv(2)`.
    pub fn receive(&self, buffer: &mut [u8]) -> Result<Option<usize>> {
        // SAFETY: the buffer is live and writable for its stated length.
        let size = unsafe { libc::recv(self.fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        match usize::try_from(size) {
            Ok(size) => Ok(Some(size)),
            Err(_) => match io::Error::last_os_error() {
                err if matches!(err.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(None),
                err => Err(SysError::new("recv", format!("link {}", self.link), err)),
            },
        }
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Sends one packet of this EtherType to a hardware address of a link; the kernel makes the link header.
///
/// # Errors
/// As `socket(2)`, `sendto(2)`.
pub fn send_on_link(link: u32, ether_type: u16, to: [u8; 6], packet: &[u8]) -> Result<()> {
    let object = format!("link {link}");
    let link = i32::try_from(link)
        .map_err(|_| SysError::new("sendto", &object, io::Error::from(io::ErrorKind::InvalidInput)))?;
    // Protocol 0: it hears nothing.
    // SAFETY: no pointers; the result is checked.
    let raw = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0) };
    if raw < 0 {
        return Err(SysError::last("socket", object));
    }
    // SAFETY: `raw` was just made by us and has no other owner.
    let fd = unsafe { OwnedFd::from_raw_fd(raw) };
    send(&fd, &link_address(link, ether_type, to), packet)
}

fn send(fd: &OwnedFd, address: &libc::sockaddr_ll, packet: &[u8]) -> Result<()> {
    // SAFETY: buffer and address are live for the call and their sizes are stated.
    let sent = unsafe {
        libc::sendto(
            fd.as_raw_fd(),
            packet.as_ptr().cast(),
            packet.len(),
            0,
            (&raw const *address).cast(),
            size_of_val(address) as u32,
        )
    };
    if sent < 0 { Err(SysError::last("sendto", format!("link {}", address.sll_ifindex))) } else { Ok(()) }
}

fn link_address(link: i32, ether_type: u16, to: [u8; 6]) -> libc::sockaddr_ll {
    let mut sll_addr = [0; 8];
    for (slot, byte) in sll_addr.iter_mut().zip(to) {
        *slot = byte;
    }
    libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: ether_type.to_be(),
        sll_ifindex: link,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr,
    }
}

/// Classic BPF over the IPv4 header: UDP, first fragment, destination port.
fn attach_filter(fd: &OwnedFd, port: u16) -> io::Result<()> {
    const LOAD_BYTE: u16 = 0x30;
    const LOAD_HALF: u16 = 0x28;
    const LOAD_HALF_X: u16 = 0x48;
    const LOAD_HEADER_LENGTH: u16 = 0xb1;
    const IF_EQUAL: u16 = 0x15;
    const IF_BITS: u16 = 0x45;
    const RETURN: u16 = 0x06;
    let op = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut program = [
        op(LOAD_BYTE, 0, 0, 9),
        op(IF_EQUAL, 0, 6, 17),
        op(LOAD_HALF, 0, 0, 6),
        op(IF_BITS, 4, 0, 0x1fff),
        op(LOAD_HEADER_LENGTH, 0, 0, 0),
        op(LOAD_HALF_X, 0, 0, 2),
        op(IF_EQUAL, 0, 1, u32::from(port)),
        op(RETURN, 0, 0, u32::MAX),
        op(RETURN, 0, 0, 0),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the kernel copies the program during the call; pointer and length belong to the live array above.
    let set = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const filter).cast(),
            size_of_val(&filter) as u32,
        )
    };
    if set < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Makes a UDP socket send and receive through one link only.
///
/// # Errors
/// As `setsockopt(2)`.
pub fn bind_udp_to_link(socket: &UdpSocket, link: &str) -> Result<()> {
    use nix::sys::socket::{setsockopt, sockopt};
    setsockopt(socket, sockopt::BindToDevice, &link.into())
        .map_err(|errno| SysError::new("setsockopt SO_BINDTODEVICE", link, errno))
}

/// A UDP socket over IPv6 that hears this port on one link alone. It never waits.
///
/// # Errors
/// As `socket(2)`, `setsockopt(2)`, `bind(2)`.
pub fn udp6_on_link(link: &str, port: u16) -> Result<UdpSocket> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn6, bind, setsockopt, socket, sockopt};
    use std::net::{Ipv6Addr, SocketAddrV6};
    let failed = |call| move |errno| SysError::new(call, format!("UDP port {port} on {link}"), errno);
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Inet6, SockType::Datagram, flags, None).map_err(failed("socket"))?;
    // Before the port is taken: each link has its own.
    setsockopt(&fd, sockopt::BindToDevice, &link.into()).map_err(failed("setsockopt SO_BINDTODEVICE"))?;
    setsockopt(&fd, sockopt::Ipv6V6Only, &true).map_err(failed("setsockopt IPV6_V6ONLY"))?;
    let address = SockaddrIn6::from(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0));
    bind(fd.as_raw_fd(), &address).map_err(failed("bind"))?;
    Ok(UdpSocket::from(fd))
}

//! The kernel's links, addresses and routes by rtnetlink.

mod made;
mod objects;
mod wire;

pub use made::NewLink;
pub use objects::{Address, Link, News, Origin, Route};

use rk_sys::{NetlinkSocket, SysError};
use std::io;

/// Datagrams of a dump are at most this large when the buffer is.
const BUFFER: usize = 64 << 10;
/// Datagrams of one answer; 64 MiB of links are no node's.
const MOST_DATAGRAMS: usize = 1024;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const EINVAL: i32 = 22;

/// A connection that asks one thing after the other.
#[derive(Debug)]
pub struct Kernel {
    socket: NetlinkSocket,
    sequence: u32,
}

/// Everything that the kernel has at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// All links.
    pub links: Vec<Link>,
    /// All addresses.
    pub addresses: Vec<Address>,
    /// Unicast routes of the main table.
    pub routes: Vec<Route>,
}

impl Kernel {
    /// Opens a connection.
    ///
    /// # Errors
    /// The kernel has no netlink.
    pub fn open() -> Result<Kernel, SysError> {
        Ok(Kernel { socket: NetlinkSocket::open(0)?, sequence: 0 })
    }

    /// Reads everything.
    ///
    /// # Errors
    /// The kernel refused or stopped answering.
    pub fn snapshot(&mut self) -> Result<Snapshot, SysError> {
        let mut snapshot = Snapshot::default();
        self.ask(objects::list_links, |message| snapshot.links.extend(objects::read_link(message)))?;
        self.ask(objects::list_addresses, |message| snapshot.addresses.extend(objects::read_address(message)))?;
        self.ask(objects::list_routes, |message| snapshot.routes.extend(objects::read_route(message)))?;
        Ok(snapshot)
    }

    /// Turns a link on.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn set_up(&mut self, link: u32) -> Result<(), SysError> {
        self.ask(|sequence| objects::set_up(sequence, link), |_| {})
    }

    /// Turns a link off.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn set_down(&mut self, link: u32) -> Result<(), SysError> {
        self.ask(|sequence| made::set_down(sequence, link), |_| {})
    }

    /// Makes a link.
    ///
    /// # Errors
    /// The kernel refused; there may be one of that name.
    pub fn create_link(&mut self, name: &str, kind: &NewLink) -> Result<(), SysError> {
        self.ask(|sequence| made::create_link(sequence, name, kind), |_| {})
    }

    /// Removes a link that was made.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn delete_link(&mut self, link: u32) -> Result<(), SysError> {
        self.ask(|sequence| made::delete_link(sequence, link), |_| {})
    }

    /// Makes a link part of a bond or bridge; 0 takes it out.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn set_master(&mut self, link: u32, master: u32) -> Result<(), SysError> {
        self.ask(|sequence| made::set_master(sequence, link, master), |_| {})
    }

    /// Sets a link's MTU.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn set_mtu(&mut self, link: u32, mtu: u32) -> Result<(), SysError> {
        self.ask(|sequence| objects::set_mtu(sequence, link, mtu), |_| {})
    }

    /// Adds an address.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn add_address(&mut self, address: &Address) -> Result<(), SysError> {
        self.ask(|sequence| objects::add_address(sequence, address), |_| {})
    }

    /// Adds an address for so many seconds, or gives it as many again.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn lend_address(&mut self, address: &Address, seconds: u32) -> Result<(), SysError> {
        self.ask(|sequence| objects::lend_address(sequence, address, seconds), |_| {})
    }

    /// Removes an address.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn delete_address(&mut self, address: &Address) -> Result<(), SysError> {
        self.ask(|sequence| objects::delete_address(sequence, address), |_| {})
    }

    /// Adds a route.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn add_route(&mut self, route: &Route, origin: Origin) -> Result<(), SysError> {
        self.ask(|sequence| objects::add_route(sequence, route, origin), |_| {})
    }

    /// Removes a route.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn delete_route(&mut self, route: &Route, origin: Origin) -> Result<(), SysError> {
        self.ask(|sequence| objects::delete_route(sequence, route, origin), |_| {})
    }

    fn ask(
        &mut self,
        request: impl FnOnce(u32) -> Vec<u8>,
        mut each: impl FnMut(wire::Message<'_>),
    ) -> Result<(), SysError> {
        let failed = |source| SysError { call: "netlink", object: "route request".to_owned(), source };
        self.sequence = self.sequence.wrapping_add(1);
        self.socket.send(&request(self.sequence))?;
        let mut buffer = vec![0; BUFFER];
        for _ in 0..MOST_DATAGRAMS {
            let Some(size) = self.socket.receive(&mut buffer)? else {
                return Err(failed(io::Error::from(io::ErrorKind::TimedOut)));
            };
            for message in wire::messages(buffer.get(..size).unwrap_or_default()) {
                // Answers to a request that timed out before are not ours.
                if message.sequence != self.sequence {
                    continue;
                }
                match message.kind {
                    DONE => return Ok(()),
                    ERROR => {
                        let code = wire::u32_at(message.payload, 0).map_or(-EINVAL, u32::cast_signed);
                        return if code == 0 { Ok(()) } else { Err(failed(io::Error::from_raw_os_error(-code))) };
                    }
                    _ => each(message),
                }
            }
        }
        Err(failed(io::Error::from(io::ErrorKind::InvalidData)))
    }
}

/// What routers advertised that the kernel leaves to programs: of each such message in news, the index of the link and the options.
pub fn user_options(news: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    wire::messages(news).filter_map(objects::read_user_options)
}

/// What each message of news is about.
pub fn news(bytes: &[u8]) -> impl Iterator<Item = News> {
    wire::messages(bytes).map(objects::read_news)
}

/// Reads whatever messages there are, as the answers to questions are read.
pub(crate) fn read_all(bytes: &[u8]) {
    for message in wire::messages(bytes) {
        let _ = (objects::read_link(message), objects::read_address(message), objects::read_route(message));
        let _ = objects::read_news(message);
    }
}

/// A snapshot of this very machine must have its loopback link.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_its_loopback_link() {
        let snapshot = Kernel::open().unwrap().snapshot().unwrap();
        let lo = snapshot.links.iter().find(|link| link.loopback).unwrap();
        assert_eq!(lo.name, "lo");
    }
}

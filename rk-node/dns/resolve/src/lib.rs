//! Addresses of host names for the programs of a node, which cannot ask the C library: a static glibc loads modules for it.
//!
//! A stub: `/etc/hosts` first, then the servers of `/etc/resolv.conf` ([`conf`]), which do the recursion. Both files are read anew each
//! time, since leases change them and lookups are few; nothing is remembered. Servers are asked one shortly after the other and the
//! first answer counts ([`resolve`]); an answer that does not fit is fetched over TCP ([`wire`]).
//!
//! Bounds: three servers, five attempts of thirty seconds at most, [`LIMIT`] for a lookup as a whole, [`MOST_ADDRESSES`] of an answer.

mod conf;
mod hosts;
mod resolve;
mod wire;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::time::timeout;

pub use conf::nameservers;
pub use wire::{ask_tcp, ask_udp};

/// How long a lookup may take as a whole, search domains included.
const LIMIT: Duration = Duration::from_secs(15);
/// Addresses that are taken of one answer.
const MOST_ADDRESSES: usize = 32;
const HOSTS: &str = "/etc/hosts";
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Why a name has no address. The texts are those of Go's resolver where it has them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The servers say that there is none.
    #[error("no such host")]
    NoSuchHost,
    /// `resolv.conf` names no server.
    #[error("no name server is known")]
    NoServers,
    /// No server answered in time.
    #[error("i/o timeout")]
    Timeout,
    /// A server answered with an error, or with something else than an answer.
    #[error("{0}: server misbehaving")]
    Misbehaving(SocketAddr),
    /// A server cannot be reached.
    #[error("dial {server}: {reason}")]
    Unreachable {
        /// The server.
        server: SocketAddr,
        /// What the kernel said.
        reason: String,
    },
}

/// The addresses of a host, IPv4 before IPv6, never none; an address is its own answer.
///
/// # Errors
/// The name has no address, or nobody could be asked.
pub async fn lookup(host: &str) -> Result<Vec<IpAddr>, ResolveError> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    let known = hosts::find(&read(HOSTS), host);
    if !known.is_empty() {
        return Ok(known);
    }
    let conf = conf::Conf::parse(&read(RESOLV_CONF));
    timeout(LIMIT, resolve::resolve(&conf, host)).await.unwrap_or(Err(ResolveError::Timeout))
}

/// A file's text; one that cannot be read says nothing. Both lie in memory, and threads for file work may all wait for another disk.
fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_and_this_machine_need_no_server() {
        assert_eq!(lookup("192.0.2.1").await, Ok(vec![IpAddr::from([192, 0, 2, 1])]));
        assert_eq!(lookup("::1").await, Ok(vec![IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])]));
        assert!(lookup("localhost").await.is_ok_and(|found| found.iter().all(IpAddr::is_loopback)));
    }
}

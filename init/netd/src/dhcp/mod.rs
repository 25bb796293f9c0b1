//! DHCPv4 (RFC 2131): packets, and a client as a state machine without sockets and clocks.

mod client;
mod datagram;
mod packet;

pub use client::{Client, Output};
pub use datagram::{checksum, unwrap_udp, wrap_broadcast};
pub use packet::{Lease, decode, encode};

/// UDP port of servers.
pub const SERVER_PORT: u16 = 67;
/// UDP port of clients.
pub const CLIENT_PORT: u16 = 68;

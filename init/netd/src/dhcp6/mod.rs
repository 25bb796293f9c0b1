//! DHCPv6 (RFC 8415): one address for one link, and the resolvers that come with it. Prefixes and routes come by router
//! advertisements, which the kernel takes.

mod client;
mod packet;

pub use client::{Client, Output};
pub use packet::{Lease, decode};

/// Port that clients hear on.
pub const CLIENT_PORT: u16 = 546;
/// Port that servers hear on.
pub const SERVER_PORT: u16 = 547;
/// All servers and relays of a link.
pub const SERVERS: std::net::Ipv6Addr = std::net::Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);

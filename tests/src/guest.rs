//! A guest as its operator meets it: ports of the host that lead in, and the exit codes of `rkctl`.

use rk_qemu::registry::free_port;
use rk_qemu::vm::{Forward, Nic};
use std::net::SocketAddr;

/// Port of the machine API in a guest.
pub const MACHINE_API: u16 = 50_000;

/// An address of this host that nobody listens at; a port that leads in may take it.
pub fn free_address() -> SocketAddr {
    free_port().expect("a free port")
}

/// A card that leads out, with addresses of this host that lead to ports of the guest.
pub fn uplink(ports: &[(SocketAddr, u16)]) -> Nic {
    let forwards = ports.iter().map(|&(host, guest)| Forward { host, guest }).collect();
    Nic::Uplink { mac: "52:54:00:00:00:01".into(), forwards }
}

/// Exit codes of `rkctl`, by the class of what went wrong.
pub mod exit {
    /// The input was wrong.
    pub const WRONG: i32 = 2;
    /// The node did not answer.
    pub const UNREACHABLE: i32 = 3;
    /// The node refused it.
    pub const REFUSED: i32 = 4;
    /// The node was not in a state for it.
    pub const PRECONDITION: i32 = 5;
    /// There is no such thing.
    pub const NOT_FOUND: i32 = 6;
}

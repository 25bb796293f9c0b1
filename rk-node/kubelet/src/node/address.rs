//! The node's own address.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

/// The address that the kernel would use towards `host`: the source of its route. No packet is sent.
pub fn find_node_ip(host: Option<&str>) -> Option<IpAddr> {
    let target: IpAddr =
        host.and_then(|h| h.trim_matches(['[', ']']).parse().ok()).unwrap_or(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
    let local = match target {
        IpAddr::V4(_) => SocketAddr::from(([0, 0, 0, 0], 0)),
        IpAddr::V6(_) => SocketAddr::from(([0_u16; 8], 0)),
    };
    let socket = UdpSocket::bind(local).ok()?;
    socket.connect((target, 9)).ok()?;
    let own = socket.local_addr().ok()?.ip();
    // On the control plane itself the endpoint may be its own address: that is the answer too. Loopback is not.
    (!own.is_unspecified() && !own.is_loopback()).then_some(own)
}

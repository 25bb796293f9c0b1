//! The node's own addresses.

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

/// The address that the kernel would use towards `host`: the source of its route. No packet is sent. One that the node
/// shares with others (`shared`) is not its own: then it is the one beside it, of the same network.
pub fn find_node_ip(host: Option<&str>, shared: &[IpAddr]) -> Option<IpAddr> {
    let own = source_towards(host)?;
    if shared.contains(&own) { beside(own, shared, &networks()) } else { Some(own) }
}

fn source_towards(host: Option<&str>) -> Option<IpAddr> {
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

/// The first address whose network holds `ip` and that is not shared. Addresses come with their masks.
fn beside(ip: IpAddr, shared: &[IpAddr], own: &[(IpAddr, IpAddr)]) -> Option<IpAddr> {
    let bits = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    };
    let near = |address: IpAddr, mask: IpAddr| {
        address.is_ipv4() == ip.is_ipv4() && bits(address) & bits(mask) == bits(ip) & bits(mask)
    };
    own.iter().find(|(address, mask)| !shared.contains(address) && near(*address, *mask)).map(|(address, _)| *address)
}

/// An address of the family that `first` is not of, on the same link, or where the default route of that family leaves.
pub fn find_other_ip(first: IpAddr, shared: &[IpAddr]) -> Option<IpAddr> {
    // For documentation: nobody has them, so the default route leads there.
    let anywhere = if first.is_ipv4() { "2001:db8::1" } else { "192.0.2.1" };
    let by_route = || source_towards(Some(anywhere)).filter(|ip| !shared.contains(ip));
    on_the_link_of(first, shared, &on_links()).or_else(by_route)
}

/// The first address of the other family on the link that has `first`, if others can reach it. Addresses come with their links.
fn on_the_link_of(first: IpAddr, shared: &[IpAddr], own: &[(String, IpAddr)]) -> Option<IpAddr> {
    let (link, _) = own.iter().find(|(_, ip)| *ip == first)?;
    let beside = own.iter().filter(|(name, ip)| name == link && ip.is_ipv4() != first.is_ipv4());
    let reachable = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => !ip.is_link_local() && !ip.is_loopback(),
        IpAddr::V6(ip) => !ip.is_unicast_link_local() && !ip.is_loopback(),
    };
    beside.map(|(_, ip)| *ip).find(|ip| reachable(ip) && !shared.contains(ip))
}

/// All addresses of this machine, with the names of their links.
fn on_links() -> Vec<(String, IpAddr)> {
    let Ok(all) = getifaddrs() else { return Vec::new() };
    all.filter_map(|one| Some((one.interface_name, ip_of(one.address)?))).collect()
}

fn ip_of(address: Option<SockaddrStorage>) -> Option<IpAddr> {
    let address = address?;
    let four = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    four.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}

/// All addresses of this machine, with their masks.
fn networks() -> Vec<(IpAddr, IpAddr)> {
    let Ok(all) = getifaddrs() else { return Vec::new() };
    all.filter_map(|one| Some((ip_of(one.address)?, ip_of(one.netmask)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_address_is_never_the_node_s_own() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("address");
        let own = [
            (ip("127.0.0.1"), ip("255.0.0.0")),
            (ip("10.0.2.15"), ip("255.255.255.0")),
            (ip("192.168.77.100"), ip("255.255.255.255")),
            (ip("192.168.77.10"), ip("255.255.255.0")),
            (ip("fd00::9"), ip("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")),
            (ip("fd00::5"), ip("ffff:ffff:ffff:ffff::")),
        ];
        let shared = [ip("192.168.77.100"), ip("fd00::9")];
        assert_eq!(beside(shared[0], &shared, &own), Some(ip("192.168.77.10")));
        assert_eq!(beside(shared[1], &shared, &own), Some(ip("fd00::5")));
        assert_eq!(beside(ip("172.16.0.1"), &shared, &own), None);
        let me = find_node_ip(Some("127.0.0.1"), &[]);
        assert!(me.is_none(), "loopback is nobody's: {me:?}");
    }

    #[test]
    fn the_second_address_is_on_the_link_of_the_first_and_others_reach_it() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("address");
        let own = [
            ("lo", "127.0.0.1"),
            ("lo", "::1"),
            ("eth0", "10.0.2.15"),
            ("eth0", "fec0::15"),
            ("eth1", "192.168.77.10"),
            ("eth1", "fe80::5054:ff:fe77:10a"),
            ("eth1", "fd00:77::100"),
            ("eth1", "fd00:77::10"),
            ("eth2", "192.168.78.10"),
            ("eth2", "fe80::1"),
        ]
        .map(|(link, text)| (link.to_owned(), ip(text)));
        let shared = [ip("fd00:77::100")];
        let beside = |first: &str| on_the_link_of(ip(first), &shared, &own);
        assert_eq!(beside("192.168.77.10"), Some(ip("fd00:77::10")));
        assert_eq!(beside("fd00:77::10"), Some(ip("192.168.77.10")));
        assert_eq!(beside("192.168.78.10"), None, "nobody else reaches an address of the link alone");
        assert_eq!((beside("127.0.0.1"), beside("192.0.2.7")), (None, None));
    }
}

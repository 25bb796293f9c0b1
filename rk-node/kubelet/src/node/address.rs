//! The node's own addresses.

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use super::inet6::{self, Own};

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

/// What there is of an address of the other family.
#[derive(Debug, PartialEq, Eq)]
pub enum Other {
    /// This one.
    Is(IpAddr),
    /// One that the kernel still asks other machines about.
    Asked,
    /// None.
    Missing,
}

/// An address of the family that `first` is not of, on the same link, or where the default route of that family leaves. One of those that
/// are `known`, by which the node went before, stays as long as it is there: what a router tells next makes the node no other.
pub fn find_other_ip(first: IpAddr, shared: &[IpAddr], known: &[IpAddr]) -> Other {
    // For documentation: nobody has them, so the default route leads there.
    let anywhere = if first.is_ipv4() { "2001:db8::1" } else { "192.0.2.1" };
    let own = on_links();
    let on_link = best_on_the_link_of(first, !first.is_ipv4(), shared, known, &own);
    if on_link != Other::Missing {
        return on_link;
    }
    let by_route = source_towards(Some(anywhere)).filter(|ip| !shared.contains(ip));
    let Some(source) = by_route else { return Other::Missing };
    // Where the link of the route has no address, the kernel lends that of any other.
    if own.iter().any(|one| one.ip == source && source.is_ipv6() && inet6::is_inner(&one.link)) {
        return Other::Missing;
    }
    match best_on_the_link_of(source, source.is_ipv4(), shared, known, &own) {
        Other::Missing => Other::Is(source),
        found => found,
    }
}

/// The best address of a family on the link that has `ip`, if others can reach it.
fn best_on_the_link_of(ip: IpAddr, is_ipv4: bool, shared: &[IpAddr], known: &[IpAddr], own: &[Own]) -> Other {
    let Some(link) = own.iter().find(|one| one.ip == ip).map(|one| one.link.as_str()) else { return Other::Missing };
    let reachable = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => !ip.is_link_local() && !ip.is_loopback(),
        IpAddr::V6(ip) => !ip.is_unicast_link_local() && !ip.is_loopback(),
    };
    let of_family = own.iter().filter(|one| one.link == link && one.ip.is_ipv4() == is_ipv4);
    let all: Vec<&Own> = of_family.filter(|one| !one.unfit && reachable(one.ip) && !shared.contains(&one.ip)).collect();
    let before = all.iter().copied().find(|one| known.contains(&one.ip));
    match before.or_else(|| all.into_iter().min_by_key(|one| rank(one))) {
        Some(one) if one.tentative => Other::Asked,
        Some(one) => Other::Is(one.ip),
        None => Other::Missing,
    }
}

/// The lowest is best: given for good before lent for a time, of the world before of the site alone (as RFC 6724 has them), and then the
/// lower one, since the kernel has the newest first. IPv4 addresses stay in their order.
fn rank(one: &Own) -> (bool, bool, u128) {
    let IpAddr::V6(ip) = one.ip else { return (false, false, 0) };
    let first = ip.segments()[0];
    let of_site = first & 0xfe00 == 0xfc00 || first & 0xffc0 == 0xfec0;
    (!one.permanent, of_site, u128::from(ip))
}

/// All addresses of this machine.
fn on_links() -> Vec<Own> {
    let all = getifaddrs().into_iter().flatten();
    let ipv4 = all.filter_map(|one| {
        let ip = ip_of(one.address).filter(IpAddr::is_ipv4)?;
        Some(Own { link: one.interface_name, ip, permanent: true, tentative: false, unfit: false })
    });
    ipv4.chain(inet6::read()).collect()
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

    /// Addresses with their links; words behind say what they are.
    fn addresses(lines: &[&str]) -> Vec<Own> {
        let own = |line: &&str| {
            let words: Vec<&str> = line.split(' ').collect();
            let is = |word: &str| words.contains(&word);
            Own {
                link: words[0].to_owned(),
                ip: words[1].parse().expect("address"),
                permanent: !is("lent"),
                tentative: is("asked"),
                unfit: is("unfit"),
            }
        };
        lines.iter().map(own).collect()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("address")
    }

    #[test]
    fn the_second_address_is_on_the_link_of_the_first_and_others_reach_it() {
        let own = addresses(&[
            "lo 127.0.0.1",
            "lo ::1",
            "eth0 10.0.2.15",
            "eth0 fec0::15 lent",
            "eth1 192.168.77.10",
            "eth1 fe80::5054:ff:fe77:10a",
            "eth1 fd00:77::1",
            "eth1 fd00:77::10",
            "eth2 192.168.78.10",
            "eth2 fe80::1",
        ]);
        let shared = [ip("fd00:77::1")];
        let beside = |first: &str| best_on_the_link_of(ip(first), !ip(first).is_ipv4(), &shared, &[], &own);
        assert_eq!(beside("192.168.77.10"), Other::Is(ip("fd00:77::10")));
        assert_eq!(beside("fd00:77::10"), Other::Is(ip("192.168.77.10")));
        assert_eq!(beside("10.0.2.15"), Other::Is(ip("fec0::15")));
        assert_eq!(beside("192.168.78.10"), Other::Missing, "nobody else reaches an address of the link alone");
        assert_eq!((beside("127.0.0.1"), beside("192.0.2.7")), (Other::Missing, Other::Missing));
    }

    #[test]
    fn a_node_goes_by_the_address_that_stays_and_by_the_one_that_it_had() {
        let (lent, other) = ("eth0 2001:db8:1::10 lent", "eth0 2001:db8:2::10 lent");
        let (local, given) = ("eth0 fd00:77::10 lent", "eth0 fd00:77::77");
        let (temporary, asked) = ("eth0 2001:db8::1 lent unfit", "eth0 2001:db8::2 lent asked");
        for (what, ips, known, want) in [
            ("newest first", vec![other, lent], vec![], Other::Is(ip("2001:db8:1::10"))),
            ("of the world", vec![local, other], vec![], Other::Is(ip("2001:db8:2::10"))),
            ("for good", vec![lent, given], vec![], Other::Is(ip("fd00:77::77"))),
            ("had before", vec![lent, local, given], vec!["fd00:77::10"], Other::Is(ip("fd00:77::10"))),
            ("gone since", vec![lent, local], vec!["fd00:77::99"], Other::Is(ip("2001:db8:1::10"))),
            ("unfit", vec![temporary, local], vec!["2001:db8::1"], Other::Is(ip("fd00:77::10"))),
            ("the best is asked about", vec![asked, lent], vec![], Other::Asked),
            (
                "one had before, another asked about",
                vec![asked, lent],
                vec!["2001:db8:1::10"],
                Other::Is(ip("2001:db8:1::10")),
            ),
            ("had before and asked about", vec![asked, given], vec!["2001:db8::2"], Other::Asked),
            ("nothing", vec![temporary], vec![], Other::Missing),
        ] {
            let own = addresses(&[vec!["eth0 192.0.2.1"], ips].concat());
            let known: Vec<IpAddr> = known.into_iter().map(ip).collect();
            assert_eq!(best_on_the_link_of(ip("192.0.2.1"), false, &[], &known, &own), want, "{what}");
        }
    }
}

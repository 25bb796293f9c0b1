//! Links, addresses and routes, read from messages and written as requests.

use super::wire::{Message, Writer, attributes, u16_at, u32_at};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

// linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h
pub(super) const NEW_LINK: u16 = 16;
pub(super) const DELETE_LINK: u16 = 17;
const GET_LINK: u16 = 18;
pub(super) const SET_LINK: u16 = 19;
const NEW_ADDRESS: u16 = 20;
const DELETE_ADDRESS: u16 = 21;
const GET_ADDRESS: u16 = 22;
const NEW_ROUTE: u16 = 24;
const DELETE_ROUTE: u16 = 25;
const GET_ROUTE: u16 = 26;
const NEW_USER_OPTIONS: u16 = 68;
pub(super) const REQUEST: u16 = 0x1;
pub(super) const ACK: u16 = 0x4;
const DUMP: u16 = 0x300;
const REPLACE: u16 = 0x100;
pub(super) const CREATE: u16 = 0x400;
pub(super) const UP: u32 = 0x1;
const LOOPBACK: u32 = 0x8;
const LOWER_UP: u32 = 0x1_0000;
const ETHERNET: u16 = 1;
const MAIN_TABLE: u32 = 254;
const SCOPE_LINK: u8 = 253;
const UNICAST: u8 = 1;
const NO_DUPLICATE_DETECTION: u32 = 0x2;
const V4: u8 = 2;
const V6: u8 = 10;
/// RFC 4861, section 4.2: an advertisement of a router, as ICMPv6 numbers it.
const ADVERTISEMENT: [u8; 2] = [134, 0];

/// Who installed a route, as `ip route` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Origin {
    /// The machine config.
    Static,
    /// A DHCP lease.
    Dhcp,
}

/// A network link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Kernel index.
    pub index: u32,
    /// Kernel name.
    pub name: String,
    /// Hardware address, the permanent one if the driver tells it; empty for links without.
    pub mac: Vec<u8>,
    /// Largest packet in bytes.
    pub mtu: u32,
    /// Turned on.
    pub up: bool,
    /// Has a carrier.
    pub running: bool,
    /// The loopback link.
    pub loopback: bool,
    /// Speaks Ethernet.
    pub ethernet: bool,
    /// The bond or bridge that it belongs to.
    pub master: Option<u32>,
}

/// An address of a link.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Address {
    /// Link index.
    pub link: u32,
    /// Address and prefix.
    pub net: IpNet,
}

/// A route of the main table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Route {
    /// Link index.
    pub link: u32,
    /// Destination.
    pub to: IpNet,
    /// Gateway; none is on-link.
    pub via: Option<IpAddr>,
    /// Priority; lower wins.
    pub metric: u32,
}

/// A request that lists all links.
pub fn list_links(sequence: u32) -> Vec<u8> {
    Writer::new(GET_LINK, REQUEST | DUMP, sequence, &[0; 16]).finish()
}

/// A request that lists all addresses.
pub fn list_addresses(sequence: u32) -> Vec<u8> {
    Writer::new(GET_ADDRESS, REQUEST | DUMP, sequence, &[0; 8]).finish()
}

/// A request that lists all routes.
pub fn list_routes(sequence: u32) -> Vec<u8> {
    Writer::new(GET_ROUTE, REQUEST | DUMP, sequence, &[0; 12]).finish()
}

/// A request that turns a link on.
pub fn set_up(sequence: u32, link: u32) -> Vec<u8> {
    Writer::new(SET_LINK, REQUEST | ACK, sequence, &link_header(link, UP, UP)).finish()
}

/// A request that sets a link's MTU.
pub fn set_mtu(sequence: u32, link: u32, mtu: u32) -> Vec<u8> {
    Writer::new(SET_LINK, REQUEST | ACK, sequence, &link_header(link, 0, 0)).attribute(4, &mtu.to_ne_bytes()).finish()
}

pub(super) fn link_header(link: u32, flags: u32, change: u32) -> Vec<u8> {
    let mut fixed = vec![0; 4];
    fixed.extend(link.to_ne_bytes());
    fixed.extend(flags.to_ne_bytes());
    fixed.extend(change.to_ne_bytes());
    fixed
}

/// A request that adds or refreshes an address.
pub fn add_address(sequence: u32, address: &Address) -> Vec<u8> {
    address_request(NEW_ADDRESS, REQUEST | ACK | CREATE | REPLACE, sequence, address)
}

/// A request that removes an address.
pub fn delete_address(sequence: u32, address: &Address) -> Vec<u8> {
    address_request(DELETE_ADDRESS, REQUEST | ACK, sequence, address)
}

/// A request that adds an address which the kernel takes away after so many seconds, or gives it as many again. No
/// connection of this machine's own starts from it.
pub fn lend_address(sequence: u32, address: &Address, seconds: u32) -> Vec<u8> {
    // linux/if_addr.h: struct ifa_cacheinfo, of which preferred and valid are read.
    let mut lifetime = Vec::from(0u32.to_ne_bytes());
    lifetime.extend(seconds.max(1).to_ne_bytes());
    lifetime.extend([0; 8]);
    let message = address_message(NEW_ADDRESS, REQUEST | ACK | CREATE | REPLACE, sequence, address);
    // Who lends it knows that nobody else has it: the kernel need not ask first.
    message.attribute(6, &lifetime).attribute(8, &NO_DUPLICATE_DETECTION.to_ne_bytes()).finish()
}

fn address_request(kind: u16, flags: u16, sequence: u32, address: &Address) -> Vec<u8> {
    let message = address_message(kind, flags, sequence, address);
    match address.net {
        IpNet::V4(net) if net.prefix_len() < 31 => message.attribute(4, &net.broadcast().octets()).finish(),
        _ => message.finish(),
    }
}

fn address_message(kind: u16, flags: u16, sequence: u32, address: &Address) -> Writer {
    let ip = octets(address.net.addr());
    let mut fixed = vec![family(address.net.addr()), address.net.prefix_len(), 0, 0];
    fixed.extend(address.link.to_ne_bytes());
    Writer::new(kind, flags, sequence, &fixed).attribute(2, &ip).attribute(1, &ip)
}

/// A request that adds or replaces a route.
pub fn add_route(sequence: u32, route: &Route, origin: Origin) -> Vec<u8> {
    route_request(NEW_ROUTE, REQUEST | ACK | CREATE | REPLACE, sequence, route, origin)
}

/// A request that removes a route.
pub fn delete_route(sequence: u32, route: &Route, origin: Origin) -> Vec<u8> {
    route_request(DELETE_ROUTE, REQUEST | ACK, sequence, route, origin)
}

fn route_request(kind: u16, flags: u16, sequence: u32, route: &Route, origin: Origin) -> Vec<u8> {
    let protocol = match origin {
        Origin::Static => 4,
        Origin::Dhcp => 16,
    };
    let scope = if route.via.is_none() && route.to.addr().is_ipv4() { SCOPE_LINK } else { 0 };
    let family = family(route.to.addr());
    let fixed = [family, route.to.prefix_len(), 0, 0, MAIN_TABLE as u8, protocol, scope, UNICAST, 0, 0, 0, 0];
    let mut message = Writer::new(kind, flags, sequence, &fixed);
    if route.to.prefix_len() > 0 {
        message = message.attribute(1, &octets(route.to.network()));
    }
    if let Some(via) = route.via {
        message = message.attribute(5, &octets(via));
    }
    message.attribute(4, &route.link.to_ne_bytes()).attribute(6, &route.metric.to_ne_bytes()).finish()
}

/// Reads a link out of a message of a dump.
pub fn read_link(message: Message<'_>) -> Option<Link> {
    (message.kind == NEW_LINK).then_some(())?;
    let fixed = message.payload;
    let flags = u32_at(fixed, 8)?;
    let mut link = Link {
        index: u32_at(fixed, 4)?,
        name: String::new(),
        mac: Vec::new(),
        mtu: 0,
        up: flags & UP != 0,
        running: flags & LOWER_UP != 0,
        loopback: flags & LOOPBACK != 0,
        ethernet: u16_at(fixed, 2)? == ETHERNET,
        master: None,
    };
    let mut permanent = None;
    for (kind, value) in attributes(fixed.get(16..)?) {
        match kind {
            1 => link.mac = value.to_vec(),
            3 => link.name = String::from_utf8_lossy(value).trim_end_matches('\0').to_owned(),
            4 => link.mtu = u32_at(value, 0)?,
            10 => link.master = u32_at(value, 0).filter(|index| *index != 0),
            54 => permanent = Some(value.to_vec()),
            _ => {}
        }
    }
    link.mac = permanent.filter(|mac| mac.iter().any(|byte| *byte != 0)).unwrap_or(link.mac);
    Some(link).filter(|link| !link.name.is_empty())
}

/// What a message of news is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// A link as it is now, or was before it went.
    Link(Link),
    /// An address of the link with this index, that came or went.
    Address(u32),
    /// Something else.
    Other,
}

/// Reads what a message of news is about.
pub fn read_news(message: Message<'_>) -> News {
    let read = match message.kind {
        NEW_LINK | DELETE_LINK => read_link(Message { kind: NEW_LINK, ..message }).map(News::Link),
        NEW_ADDRESS | DELETE_ADDRESS => u32_at(message.payload, 4).map(News::Address),
        _ => None,
    };
    read.unwrap_or(News::Other)
}

/// Reads an address out of a message of a dump.
pub fn read_address(message: Message<'_>) -> Option<Address> {
    (message.kind == NEW_ADDRESS).then_some(())?;
    let fixed = message.payload;
    let (family, prefix) = (*fixed.first()?, *fixed.get(1)?);
    let link = u32_at(fixed, 4)?;
    let mut ip = None;
    for (kind, value) in attributes(fixed.get(8..)?) {
        match kind {
            // IFA_LOCAL is the own address where the other is a peer's.
            2 => ip = address(family, value),
            1 if ip.is_none() => ip = address(family, value),
            _ => {}
        }
    }
    Some(Address { link, net: IpNet::new(ip?, prefix).ok()? })
}

/// Reads a unicast route of the main table out of a message of a dump.
pub fn read_route(message: Message<'_>) -> Option<Route> {
    (message.kind == NEW_ROUTE).then_some(())?;
    let fixed = message.payload;
    let (family, prefix) = (*fixed.first()?, *fixed.get(1)?);
    let mut table = u32::from(*fixed.get(4)?);
    (*fixed.get(7)? == UNICAST).then_some(())?;
    let unspecified: IpAddr = match family {
        V4 => Ipv4Addr::UNSPECIFIED.into(),
        V6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => return None,
    };
    let (mut to, mut via, mut link, mut metric) = (unspecified, None, None, 0);
    for (kind, value) in attributes(fixed.get(12..)?) {
        match kind {
            1 => to = address(family, value)?,
            4 => link = u32_at(value, 0),
            5 => via = address(family, value),
            6 => metric = u32_at(value, 0)?,
            15 => table = u32_at(value, 0)?,
            _ => {}
        }
    }
    (table == MAIN_TABLE).then_some(())?;
    Some(Route { link: link?, to: IpNet::new(to, prefix).ok()?, via, metric })
}

/// Reads the options that a message of news hands on, and the index of the link on which a router advertised them.
pub fn read_user_options(message: Message<'_>) -> Option<(u32, &[u8])> {
    (message.kind == NEW_USER_OPTIONS).then_some(())?;
    let fixed = message.payload;
    (*fixed.first()? == V6 && fixed.get(8..10)? == ADVERTISEMENT).then_some(())?;
    let length = usize::from(u16_at(fixed, 2)?);
    Some((u32_at(fixed, 4)?, fixed.get(16..)?.get(..length)?))
}

fn family(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { V4 } else { V6 }
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn address(family: u8, bytes: &[u8]) -> Option<IpAddr> {
    match family {
        V4 => Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        V6 => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::messages;
    use super::*;

    #[test]
    fn requests_read_back_as_what_they_ask_for() {
        let address = Address { link: 2, net: "192.168.77.11/24".parse().unwrap() };
        let bytes = add_address(1, &address);
        assert_eq!(messages(&bytes).find_map(read_address), Some(address));
        for (to, via) in [("0.0.0.0/0", Some("10.0.2.2")), ("10.1.0.0/16", None), ("::/0", Some("fe80::1"))] {
            let route =
                Route { link: 3, to: to.parse().unwrap(), via: via.map(|via| via.parse().unwrap()), metric: 1024 };
            let bytes = add_route(1, &route, Origin::Dhcp);
            assert_eq!(messages(&bytes).find_map(read_route), Some(route));
        }
    }

    #[test]
    fn news_tell_of_links_that_come_and_go_and_of_whose_addresses_do() {
        let header = link_header(7, 0, 0);
        for kind in [NEW_LINK, DELETE_LINK] {
            let bytes = Writer::new(kind, 0, 0, &header).attribute(3, b"eth0\0").finish();
            let found: Vec<News> = messages(&bytes).map(read_news).collect();
            assert!(
                matches!(found.as_slice(), [News::Link(link)] if link.index == 7 && link.name == "eth0"),
                "{found:?}"
            );
        }
        for kind in [NEW_ADDRESS, DELETE_ADDRESS] {
            let bytes = Writer::new(kind, 0, 0, &[V4, 24, 0, 0, 9, 0, 0, 0]).finish();
            let index = u32::from_ne_bytes([9, 0, 0, 0]);
            assert_eq!(messages(&bytes).map(read_news).collect::<Vec<_>>(), [News::Address(index)]);
        }
        let nameless = Writer::new(NEW_LINK, 0, 0, &header).finish();
        let route = Writer::new(NEW_ROUTE, 0, 0, &[0; 12]).finish();
        for bytes in [nameless, route] {
            assert_eq!(messages(&bytes).map(read_news).collect::<Vec<_>>(), [News::Other]);
        }
    }

    #[test]
    fn options_of_a_router_s_advertisement_are_found_before_the_attributes() {
        let options = [25_u8, 1, 0, 0, 0, 0, 0, 9];
        let news = |fixed: &[u8], tail: &[u8]| Writer::new(NEW_USER_OPTIONS, 0, 0, &[fixed, tail].concat()).finish();
        let fixed = |family: u8, length: u16, icmp: u8| {
            let head = [&[family, 0], length.to_ne_bytes().as_slice(), &7u32.to_ne_bytes()].concat();
            [head.as_slice(), &[icmp, 0, 0, 0, 0, 0, 0, 0]].concat()
        };
        let tail = [options.as_slice(), &[20, 0, 1, 0], &[0xfe; 16]].concat();
        for (fixed, found) in [
            (fixed(V6, 8, 134), Some((7, options.as_slice()))),
            (fixed(V6, 200, 134), None),
            (fixed(V6, 8, 137), None),
            (fixed(V4, 8, 134), None),
        ] {
            let bytes = news(&fixed, &tail);
            assert_eq!(messages(&bytes).find_map(read_user_options), found, "{fixed:?}");
        }
    }

    #[test]
    fn noise_is_no_object() {
        for length in 0..64 {
            for fill in [0x00, 0x02, 0xff] {
                let payload = vec![fill; length];
                for kind in [NEW_LINK, NEW_ADDRESS, NEW_ROUTE, NEW_USER_OPTIONS] {
                    let message = Message { kind, sequence: 0, payload: &payload };
                    assert_eq!(read_user_options(message), None);
                    assert_eq!((read_link(message), read_address(message)), (None, None));
                    let _ = read_route(message);
                }
            }
        }
    }
}

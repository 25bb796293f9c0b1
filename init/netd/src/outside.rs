//! The parsers of outside bytes by themselves, for fuzz targets: each takes anything and ends without a panic.

use crate::advertised::{self, Advertised};
use crate::{dhcp, dhcp6, dns, rtnl, sntp};
use std::time::Duration;

/// A DHCPv4 packet, with or without the headers that a raw socket sees around it.
pub fn dhcp(bytes: &[u8]) {
    let inner = dhcp::unwrap_udp(bytes);
    for payload in inner.into_iter().chain([bytes]) {
        let _ = dhcp::decode(payload);
    }
}

/// A DHCPv6 message.
pub fn dhcp6(bytes: &[u8]) {
    let _ = dhcp6::decode(bytes);
}

/// An answer of a time server, to the question that it says it answers.
pub fn ntp(bytes: &[u8]) {
    let nonce = bytes.get(24..32).and_then(|nonce| nonce.try_into().ok()).map_or(0, u64::from_be_bytes);
    for seconds in [0, 1_700_000_000, u64::from(u32::MAX) * 4] {
        let sent = Duration::from_secs(seconds);
        let _ = sntp::offset(bytes, nonce, sent, sent + Duration::from_millis(20));
    }
}

/// An answer of a name server.
pub fn dns(bytes: &[u8]) {
    let id = bytes.get(..2).and_then(|id| id.try_into().ok()).map_or(0, u16::from_be_bytes);
    let _ = dns::answer(bytes, id);
}

/// The kernel's messages about links, addresses, routes and what routers advertise, and options of advertisements without a message around them.
pub fn netlink(bytes: &[u8]) {
    rtnl::read_all(bytes);
    let mut kept = Advertised::default();
    for options in rtnl::user_options(bytes).map(|(_, options)| options).chain([bytes]) {
        advertised::decode(options).into_iter().for_each(|word| kept.hear(0, word));
    }
}

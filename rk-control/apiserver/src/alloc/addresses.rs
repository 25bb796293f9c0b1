//! Choosing cluster IPs.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use rand::RngExt;
use serde_json::Value;

/// The longest part of an address that tells those of a range apart: what is larger is used as far as its first 2^64 addresses.
const MOST_BITS: u32 = 64;
/// Random tries before the range is searched in order.
const TRIES: usize = 32;

/// The addresses that a Service holds.
pub(super) fn of(service: &Value) -> Vec<IpAddr> {
    let many = rk_api::meta::at(service, &["spec", "clusterIPs"]).as_array();
    let mut found: Vec<IpAddr> =
        many.into_iter().flatten().filter_map(|address| address.as_str()?.parse().ok()).collect();
    if found.is_empty() {
        found.extend(rk_api::meta::text(service, &["spec", "clusterIP"]).parse::<IpAddr>().ok());
    }
    found
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

/// The address `offset` after the first of a range.
fn nth(range: &IpNet, offset: u128) -> Option<IpAddr> {
    let value = number(range.network()).checked_add(offset)?;
    match range {
        IpNet::V4(_) => u32::try_from(value).ok().map(|value| IpAddr::V4(Ipv4Addr::from(value))),
        IpNet::V6(_) => Some(IpAddr::V6(Ipv6Addr::from(value))),
    }
}

/// Usable offsets of a range, first and last: without the network's own address, and without IPv4's broadcast.
fn bounds(range: &IpNet) -> (u128, u128) {
    let bits = u32::from(range.max_prefix_len() - range.prefix_len());
    let size = 1u128 << bits.min(MOST_BITS);
    let last = match range {
        IpNet::V4(_) => size.saturating_sub(2),
        IpNet::V6(_) => size.saturating_sub(1),
    };
    (1, last)
}

/// How many addresses at the start of a range are left to those who choose their own (KEP-3070): between 16 and 256, a
/// sixteenth of the range.
fn static_band(first: u128, last: u128) -> u128 {
    let size = last.saturating_sub(first) + 1;
    if size <= 16 { 0 } else { (size / 16).clamp(16, 256) }
}

/// Whether an address may be given out of a range.
pub(super) fn is_usable(range: &IpNet, address: IpAddr) -> bool {
    let (first, last) = bounds(range);
    let number = number(address);
    let start = super::addresses::number(range.network());
    range.contains(&address) && number.checked_sub(start).is_some_and(|offset| (first..=last).contains(&offset))
}

/// A free address of a range: from the dynamic band while there are any, at random so that addresses are not reused at once.
pub(super) fn pick(range: &IpNet, taken: &HashSet<IpAddr>) -> Option<IpAddr> {
    let (first, last) = bounds(range);
    let dynamic = first + static_band(first, last);
    let free = |offset: u128| nth(range, offset).filter(|address| !taken.contains(address));
    let mut random = rand::rng();
    if dynamic <= last {
        for _ in 0..TRIES {
            if let Some(address) = free(random.random_range(dynamic..=last)) {
                return Some(address);
            }
        }
    }
    (dynamic..=last).chain(first..dynamic.min(last + 1)).find_map(free)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dynamic_addresses_come_from_the_upper_band_until_it_is_full() {
        let range: IpNet = "10.96.0.0/16".parse().unwrap();
        let mut taken = HashSet::new();
        for _ in 0..200 {
            let address = pick(&range, &taken).unwrap();
            assert!(number(address) - number(range.network()) > 256, "{address}");
            assert!(taken.insert(address));
        }
        let small: IpNet = "10.0.0.0/29".parse().unwrap();
        let mut taken = HashSet::new();
        while let Some(address) = pick(&small, &taken) {
            assert!(is_usable(&small, address) && taken.insert(address));
        }
        assert_eq!(taken.len(), 6);
    }

    #[test]
    fn network_and_broadcast_addresses_are_nobodys() {
        let range: IpNet = "10.96.0.0/24".parse().unwrap();
        assert!(!is_usable(&range, "10.96.0.0".parse().unwrap()));
        assert!(!is_usable(&range, "10.96.0.255".parse().unwrap()));
        assert!(is_usable(&range, "10.96.0.254".parse().unwrap()));
        assert!(!is_usable(&range, "10.97.0.1".parse().unwrap()));
        let six: IpNet = "fd00::/108".parse().unwrap();
        assert!(is_usable(&six, pick(&six, &HashSet::new()).unwrap()));
        for (range, last) in [
            ("2001:db8::/64", "2001:db8::ffff:ffff:ffff:ffff"),
            ("fd00::/108", "fd00::f:ffff"),
            ("10.0.0.0/8", "10.255.255.254"),
        ] {
            assert!(is_usable(&range.parse().unwrap(), last.parse().unwrap()), "{last}");
        }
        assert!(!is_usable(&"2001:db8::/48".parse().unwrap(), "2001:db8:0:1::".parse().unwrap()));
    }
}

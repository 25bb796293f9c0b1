//! What netd leaves in `/run/rk`: for its own next start, and for those who show it.

use crate::advertised::Advertised;
use crate::log;
use crate::plan::Owned;
use crate::rtnl::Snapshot;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};

/// What links were given: the next netd, with another config perhaps, takes back what is not wanted any more.
const OWNED: &str = "/run/rk/netd-owned.json";
/// What routers advertised on links: they say it again when it suits them, which may be in half an hour.
const ADVERTISED: &str = "/run/rk/netd-advertised.json";
/// The machine's addresses, one on each line.
const ADDRESSES: &str = "/run/rk/addresses";
const MOST_BYTES: u64 = 1 << 20;

/// What an earlier netd of this boot gave; nothing when there was none, or its note is torn.
pub fn load_owned() -> Owned {
    load(OWNED)
}

/// Notes what links were given.
pub fn save_owned(owned: &Owned) {
    save(OWNED, owned);
}

/// What an earlier netd of this boot heard of routers, by index of the link. Times are of this boot's clock.
pub fn load_advertised() -> BTreeMap<u32, Advertised> {
    load(ADVERTISED)
}

/// Notes what was heard of routers.
pub fn save_advertised(heard: &BTreeMap<u32, &Advertised>) {
    save(ADVERTISED, heard);
}

fn load<T: DeserializeOwned + Default>(path: &str) -> T {
    let mut bytes = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(MOST_BYTES).read_to_end(&mut bytes));
    read.ok().and_then(|_| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

fn save(path: &str, what: &impl Serialize) {
    let saved = serde_json::to_vec(what).map_err(io::Error::from).and_then(|bytes| write(path, &bytes));
    if let Err(err) = saved {
        log::warn(format_args!("writing {path}: {err}"));
    }
}

/// Notes the addresses of the links that are looked after.
pub fn tell_addresses<'a>(links: impl Iterator<Item = &'a u32>, kernel: &Snapshot, owned: &Owned) {
    let links: Vec<u32> = links.copied().collect();
    let text = addresses(&links, kernel, owned);
    if let Err(err) = write(ADDRESSES, text.as_bytes()) {
        log::info(format_args!("writing {ADDRESSES}: {err}"));
    }
}

fn addresses(links: &[u32], kernel: &Snapshot, owned: &Owned) -> String {
    let all = kernel.addresses.iter().chain(&owned.addresses).filter(|address| links.contains(&address.link));
    let global = |ip: std::net::IpAddr| match ip {
        std::net::IpAddr::V4(_) => true,
        std::net::IpAddr::V6(ip) => !ip.is_unicast_link_local(),
    };
    let mut nets: Vec<_> = all.map(|address| address.net).filter(|net| global(net.addr())).collect();
    nets.sort();
    nets.dedup();
    nets.iter().map(|net| format!("{net}\n")).collect()
}

fn write(path: &str, bytes: &[u8]) -> io::Result<()> {
    if fs::read(path).is_ok_and(|have| have == bytes) {
        return Ok(());
    }
    let new = format!("{path}.new");
    fs::write(&new, bytes)?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtnl::{Address, Origin, Route};

    #[test]
    fn what_is_owned_reads_back() {
        let mut owned = Owned::default();
        owned.addresses.insert(Address { link: 2, net: "10.0.0.2/24".parse().unwrap() });
        let route =
            Route { link: 2, to: "0.0.0.0/0".parse().unwrap(), via: Some("10.0.0.1".parse().unwrap()), metric: 7 };
        owned.routes.insert(route, Origin::Dhcp);
        let bytes = serde_json::to_vec(&owned).unwrap();
        assert_eq!(serde_json::from_slice::<Owned>(&bytes).unwrap(), owned);
    }

    #[test]
    fn addresses_of_our_links_are_told_once_and_link_local_ones_not() {
        let net = |link: u32, text: &str| Address { link, net: text.parse().unwrap() };
        let kernel = Snapshot {
            addresses: vec![net(2, "10.0.0.2/24"), net(2, "fe80::1/64"), net(3, "10.244.0.1/24")],
            ..Snapshot::default()
        };
        let mut owned = Owned::default();
        owned.addresses.insert(net(2, "10.0.0.2/24"));
        assert_eq!(addresses(&[2], &kernel, &owned), "10.0.0.2/24\n");
    }
}

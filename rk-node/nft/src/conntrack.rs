//! Connection tracking entries: listed and removed one by one.
//!
//! UDP has no end of a connection, so an entry that leads to a dead endpoint would be used as long as packets flow.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{
    attr::{Attrs, find},
    socket::{Error, Netfilter},
};

const GET: u16 = (1 << 8) | 1;
const DELETE: u16 = (1 << 8) | 2;
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;

/// One direction of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// IP protocol number.
    pub protocol: u8,
    /// Source port; 0 for protocols without ports.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
}

/// A tracked connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Entry {
    /// As its first packet came.
    pub original: Tuple,
    /// As answers come.
    pub reply: Tuple,
}

/// Removes every entry that `doomed` names; answers with how many there were.
pub fn remove(netfilter: &Netfilter, v6: bool, doomed: impl Fn(&Entry) -> bool) -> Result<usize, Error> {
    let family = if v6 { 10 } else { 2 };
    let mut removed = 0;
    for attrs in netfilter.dump(GET, family, &[])? {
        let Some(entry) = parse(&attrs).filter(&doomed) else { continue };
        let Some(original) = find(&attrs, ORIGINAL) else { continue };
        let mut key = Attrs::default();
        key.nest(ORIGINAL, |a| a.0.extend_from_slice(original));
        match netfilter.request(DELETE, family, &key.0, &format!("remove connection {:?}", entry.original)) {
            Ok(()) => removed += 1,
            // It ended by itself meanwhile.
            Err(error) if error.errno() == Some(nix::libc::ENOENT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(removed)
}

fn parse(attrs: &[u8]) -> Option<Entry> {
    Some(Entry { original: tuple(find(attrs, ORIGINAL)?)?, reply: tuple(find(attrs, REPLY)?)? })
}

fn tuple(attrs: &[u8]) -> Option<Tuple> {
    let (ip, proto) = (find(attrs, 1)?, find(attrs, 2)?);
    let port = |kind| find(proto, kind).and_then(|p| p.try_into().ok()).map_or(0, u16::from_be_bytes);
    Some(Tuple {
        src: address(ip, 1, 3)?,
        dst: address(ip, 2, 4)?,
        protocol: *find(proto, 1)?.first()?,
        src_port: port(2),
        dst_port: port(3),
    })
}

fn address(ip: &[u8], v4: u16, v6: u16) -> Option<IpAddr> {
    if let Some(bytes) = find(ip, v4) {
        return Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into());
    }
    Some(Ipv6Addr::from(<[u8; 16]>::try_from(find(ip, v6)?).ok()?).into())
}

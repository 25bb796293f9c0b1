//! Which frames are kept: read from the frame itself, nothing trusted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A protocol to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// All of them.
    #[default]
    Any,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP, both versions.
    Icmp,
    /// ARP.
    Arp,
}

impl Protocol {
    /// As an operator writes it.
    pub fn named(name: &str) -> Option<Protocol> {
        Some(match name {
            "" => Protocol::Any,
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            "icmp" => Protocol::Icmp,
            "arp" => Protocol::Arp,
            _ => return None,
        })
    }
}

/// What to keep.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// Of this protocol.
    pub protocol: Protocol,
    /// From or to this address.
    pub host: Option<IpAddr>,
    /// From or to this port; 0 is any.
    pub port: u16,
    /// Not TCP from or to this port; 0 is none.
    pub not_tcp_port: u16,
}

/// The fields of a frame that filters look at.
#[derive(Debug, Default)]
struct Seen {
    protocol: Protocol,
    hosts: Option<(IpAddr, IpAddr)>,
    ports: Option<(u16, u16)>,
}

impl Filter {
    /// Whether an Ethernet frame is kept.
    pub fn passes(&self, frame: &[u8]) -> bool {
        let seen = look(frame).unwrap_or_default();
        let either = |port: u16| seen.ports.is_some_and(|(from, to)| from == port || to == port);
        if self.not_tcp_port != 0 && seen.protocol == Protocol::Tcp && either(self.not_tcp_port) {
            return false;
        }
        (self.protocol == Protocol::Any || self.protocol == seen.protocol)
            && self.host.is_none_or(|host| seen.hosts.is_some_and(|(from, to)| from == host || to == host))
            && (self.port == 0 || either(self.port))
    }
}

fn look(frame: &[u8]) -> Option<Seen> {
    let (mut kind, mut rest) = (short(frame, 12)?, frame.get(14..)?);
    if kind == 0x8100 {
        (kind, rest) = (short(rest, 2)?, rest.get(4..)?);
    }
    match kind {
        0x0800 => {
            let length = usize::from(*rest.first()? & 0xf) * 4;
            let ip = |at: usize| Some(IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(rest.get(at..at + 4)?).ok()?)));
            let fragment = short(rest, 6)? & 0x1fff != 0;
            let body = if fragment { None } else { rest.get(length..) };
            Some(inner(*rest.get(9)?, (ip(12)?, ip(16)?), body))
        }
        0x86dd => {
            let ip = |at: usize| Some(IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(rest.get(at..at + 16)?).ok()?)));
            Some(inner(*rest.get(6)?, (ip(8)?, ip(24)?), rest.get(40..)))
        }
        0x0806 => Some(Seen { protocol: Protocol::Arp, ..Seen::default() }),
        _ => None,
    }
}

fn inner(number: u8, hosts: (IpAddr, IpAddr), body: Option<&[u8]>) -> Seen {
    let protocol = match number {
        6 => Protocol::Tcp,
        17 => Protocol::Udp,
        1 | 58 => Protocol::Icmp,
        _ => Protocol::Any,
    };
    let carries_ports = matches!(protocol, Protocol::Tcp | Protocol::Udp);
    let ports = body.filter(|_| carries_ports).and_then(|body| Some((short(body, 0)?, short(body, 2)?)));
    Seen { protocol, hosts: Some(hosts), ports }
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(from: u16, to: u16) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00, 0x45]);
        frame.extend([0; 8]);
        frame.extend([6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend(from.to_be_bytes());
        frame.extend(to.to_be_bytes());
        frame
    }

    #[test]
    fn frames_are_kept_by_protocol_host_and_port() {
        let frame = tcp(1234, 80);
        let host = |text: &str| Some(text.parse().unwrap());
        let table = [
            (Filter::default(), true),
            (Filter { protocol: Protocol::Tcp, host: host("10.0.0.2"), port: 80, not_tcp_port: 0 }, true),
            (Filter { protocol: Protocol::Udp, ..Filter::default() }, false),
            (Filter { host: host("10.0.0.3"), ..Filter::default() }, false),
            (Filter { port: 81, ..Filter::default() }, false),
            (Filter { not_tcp_port: 80, ..Filter::default() }, false),
            (Filter { not_tcp_port: 50_000, ..Filter::default() }, true),
        ];
        for (filter, kept) in table {
            assert_eq!(filter.passes(&frame), kept, "{filter:?}");
        }
    }

    #[test]
    fn short_and_odd_frames_are_judged_without_harm() {
        let whole = tcp(1, 2);
        for cut in 0..whole.len() {
            let _ = Filter { port: 2, ..Filter::default() }.passes(&whole[..cut]);
        }
        assert!(Filter::default().passes(&[]));
        assert!(!Filter { port: 2, ..Filter::default() }.passes(&[0xff; 64]));
    }
}

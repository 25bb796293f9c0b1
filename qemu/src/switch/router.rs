//! A router on the switch that speaks IPv6 alone: it advertises a prefix (RFC 4861), a resolver and a search domain (RFC 8106), and gives one
//! address by DHCPv6 (RFC 8415). It routes nothing.

use super::{Mac, Switch, read_frame, write_frame};
use crate::{Error, Result};
use std::io::BufReader;
use std::net::{Ipv6Addr, Shutdown};
use std::os::unix::net::UnixStream;

const IPV6: [u8; 2] = [0x86, 0xdd];
const UDP: u8 = 17;
const ICMP: u8 = 58;
const SOLICITATION: u8 = 133;
const ADVERTISEMENT: u8 = 134;
const CLIENT: u16 = 546;
const SERVER: u16 = 547;
const MAC: Mac = [2, 0xfe, 0, 0, 0, 6];
const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xfe);
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: Mac = [0x33, 0x33, 0, 0, 0, 1];
/// Seconds that what it gives is good for.
const VALID: u32 = 7200;

/// What it tells.
#[derive(Debug, Clone, Copy)]
pub struct Offer {
    /// The first 64 bits are the prefix of which hosts make addresses.
    pub prefix: Ipv6Addr,
    /// The address that it offers to every client.
    pub lease: Ipv6Addr,
    /// The resolver that comes with it.
    pub nameserver: Ipv6Addr,
    /// The resolver that it advertises.
    pub advertised: Ipv6Addr,
    /// The search domain that it advertises.
    pub domain: &'static str,
}

/// A running router; dropping it takes it off the network.
#[derive(Debug)]
pub struct Router {
    stream: UnixStream,
}

impl Router {
    /// Puts one on a port of its own.
    pub fn start(switch: &Switch, offer: Offer) -> Result<Router> {
        let (_, socket) = switch.add_port()?;
        let stream = UnixStream::connect(&socket).map_err(Error::file("connect to", &socket))?;
        let (reader, writer) = (stream.try_clone(), stream.try_clone());
        let mut reader = BufReader::new(reader.map_err(Error::file("clone", &socket))?);
        let mut writer = writer.map_err(Error::file("clone", &socket))?;
        std::thread::spawn(move || {
            let mut frame = Vec::new();
            while matches!(read_frame(&mut reader, &mut frame), Ok(true)) {
                if offer.answer(&frame).is_some_and(|reply| write_frame(&mut writer, &reply).is_err()) {
                    return;
                }
            }
        });
        Ok(Router { stream })
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

impl Offer {
    /// The frame that answers a frame.
    fn answer(&self, frame: &[u8]) -> Option<Vec<u8>> {
        let packet = frame.get(14..).filter(|_| frame.get(12..14) == Some(&IPV6))?;
        let length = usize::from(be16(packet, 4)?);
        let body = packet.get(40..40 + length)?;
        match *packet.get(6)? {
            ICMP if body.first() == Some(&SOLICITATION) => {
                Some(packet_of(ALL_NODES_MAC, ALL_NODES, ICMP, self.advertisement()))
            }
            UDP if be16(body, 2) == Some(SERVER) => {
                let asker = Ipv6Addr::from(<[u8; 16]>::try_from(packet.get(8..24)?).ok()?);
                let reply = self.lease(body.get(8..)?)?;
                let length = u16::try_from(reply.len() + 8).ok()?.to_be_bytes();
                let header = [SERVER.to_be_bytes(), CLIENT.to_be_bytes(), length, [0, 0]].concat();
                let body = [header, reply].concat();
                Some(packet_of(frame.get(6..12)?.try_into().ok()?, asker, UDP, body))
            }
            _ => None,
        }
    }

    /// Addresses are to be made of the prefix, and more is to be asked by DHCPv6.
    fn advertisement(&self) -> Vec<u8> {
        const MANAGED_AND_OTHER: u8 = 0xc0;
        const ON_LINK_AND_AUTONOMOUS: u8 = 0xc0;
        let mut body = vec![ADVERTISEMENT, 0, 0, 0, 64, MANAGED_AND_OTHER];
        body.extend(1800_u16.to_be_bytes());
        body.extend([0; 8]);
        body.extend([3, 4, 64, ON_LINK_AND_AUTONOMOUS]);
        body.extend([VALID.to_be_bytes(), VALID.to_be_bytes(), [0; 4]].concat());
        body.extend(self.prefix.octets().get(..8).unwrap_or_default());
        body.extend([0; 8]);
        body.extend([1, 1]);
        body.extend(MAC);
        body.extend(lasting(25, &self.advertised.octets()));
        let labels = self.domain.split('.').map(str::as_bytes);
        let labels = labels.flat_map(|label| [&[label.len() as u8], label].concat());
        body.extend(lasting(31, &labels.chain([0]).collect::<Vec<u8>>()));
        body
    }

    /// An offer for who looks for one; the lease for who wants or keeps it.
    fn lease(&self, message: &[u8]) -> Option<Vec<u8>> {
        let ours = [&[0, 3, 0, 1], MAC.as_slice()].concat();
        let kind = match message.first()? {
            1 => 2,
            3 | 5 if option(message, 2) == Some(ours.as_slice()) => 7,
            6 => 7,
            _ => return None,
        };
        let mut reply = [&[kind], message.get(1..4)?].concat();
        put(&mut reply, 1, option(message, 1)?);
        put(&mut reply, 2, &ours);
        let mut address = self.lease.octets().to_vec();
        address.extend([VALID.to_be_bytes(), VALID.to_be_bytes()].concat());
        // T1 and T2 are left to the client.
        let mut association = [option(message, 3)?.get(..4)?, &[0; 8]].concat();
        put(&mut association, 5, &address);
        put(&mut reply, 3, &association);
        put(&mut reply, 23, &self.nameserver.octets());
        Some(reply)
    }
}

/// An option of an advertisement with a lifetime, filled up to units of eight bytes, in which it counts its length.
fn lasting(kind: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().div_ceil(8) + 1;
    let mut option = vec![kind, length as u8, 0, 0];
    option.extend(VALID.to_be_bytes());
    option.extend(content);
    option.resize(length * 8, 0);
    option
}

/// The bytes of an option of a DHCPv6 message.
fn option(message: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut rest = message.get(4..)?;
    loop {
        let (code, length) = (be16(rest, 0)?, usize::from(be16(rest, 2)?));
        let value = rest.get(4..4 + length)?;
        if code == wanted {
            return Some(value);
        }
        rest = rest.get(4 + length..)?;
    }
}

fn put(bytes: &mut Vec<u8>, code: u16, value: &[u8]) {
    bytes.extend(code.to_be_bytes());
    bytes.extend(u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
    bytes.extend(value);
}

/// A frame of ours; the checksum of `body`, which IPv6 wants, is put where its protocol has it.
fn packet_of(mac: Mac, to: Ipv6Addr, protocol: u8, mut body: Vec<u8>) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap_or(u16::MAX);
    let addresses = [LINK_LOCAL.octets(), to.octets()].concat();
    let mut summed = addresses.clone();
    summed.extend([[0, 0], length.to_be_bytes(), [0, 0], [0, protocol]].concat());
    summed.extend(&body);
    let at = if protocol == UDP { 6 } else { 2 };
    body.splice(at..at + 2, checksum(&summed).to_be_bytes());
    let mut header = vec![0x60, 0, 0, 0];
    header.extend(length.to_be_bytes());
    // Neighbours alone are believed: a hop limit of 255 shows that nothing was routed.
    header.extend([protocol, 255]);
    [mac.as_slice(), &MAC, &IPV6, &header, &addresses, &body].concat()
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// The internet checksum (RFC 1071); an odd last byte counts as the first of a word. In UDP over IPv6 zero would mean that there is none.
fn checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| {
        let high = u32::from(pair.first().copied().unwrap_or(0)) << 8;
        high + u32::from(pair.get(1).copied().unwrap_or(0))
    };
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    match !(sum as u16) {
        0 => u16::MAX,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUEST: Mac = [2, 0, 0, 0, 0, 9];

    fn told() -> Offer {
        let address = |text: &str| text.parse::<Ipv6Addr>().expect("an address");
        Offer {
            prefix: address("fd00:60::"),
            lease: address("fd00:60::1234"),
            nameserver: address("fd00:60::53"),
            advertised: address("fd00:60::54"),
            domain: "site.example",
        }
    }

    /// What a guest sends: from its link-local address, to any destination.
    fn from_guest(protocol: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).expect("short").to_be_bytes();
        let source = "fe80::9".parse::<Ipv6Addr>().expect("an address").octets();
        let head = [&[0x60, 0, 0, 0], length.as_slice(), &[protocol, 255]].concat();
        [MAC.as_slice(), &GUEST, &IPV6, &head, &source, &ALL_NODES.octets(), body].concat()
    }

    fn message(kind: u8, more: &[(u16, &[u8])]) -> Vec<u8> {
        let mut message = vec![kind, 7, 8, 9];
        put(&mut message, 1, b"client");
        put(&mut message, 3, &[1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0]);
        more.iter().for_each(|(code, value)| put(&mut message, *code, value));
        let header = [CLIENT.to_be_bytes(), SERVER.to_be_bytes(), [0, 0], [0, 0]].concat();
        from_guest(UDP, &[header, message].concat())
    }

    /// A sum over what was summed and the sum itself is nought, which is told as all ones.
    fn sound(frame: &[u8]) -> bool {
        let (protocol, body) = (frame[20], &frame[54..]);
        let length = u16::try_from(body.len()).expect("short").to_be_bytes();
        checksum(&[&frame[22..54], &[0, 0], &length, &[0, 0, 0, protocol], body].concat()) == u16::MAX
    }

    #[test]
    fn a_solicitation_is_answered_to_all_nodes_with_the_prefix() {
        let frame = told().answer(&from_guest(ICMP, &[SOLICITATION, 0, 0, 0, 0, 0, 0, 0])).expect("an answer");
        assert!(frame.starts_with(&ALL_NODES_MAC) && sound(&frame), "{frame:?}");
        assert_eq!((frame[21], frame[54]), (255, ADVERTISEMENT));
        let prefix = told().prefix.octets()[..8].to_vec();
        assert!(frame.windows(8).any(|window| window == prefix));
        let lifetime = VALID.to_be_bytes();
        let resolver = [&[25, 3, 0, 0], lifetime.as_slice(), &told().advertised.octets()].concat();
        let domain = [&[31, 3, 0, 0], lifetime.as_slice(), b"\x04site\x07example\0\0\0"].concat();
        assert!(frame.ends_with(&[resolver, domain].concat()), "{frame:?}");
        assert_eq!(told().answer(&from_guest(ICMP, &[135, 0, 0, 0])), None);
    }

    #[test]
    fn an_address_is_offered_and_given_to_who_asks_this_server() {
        let frame = told().answer(&message(1, &[])).expect("an offer");
        assert!(frame.starts_with(&GUEST) && sound(&frame), "{frame:?}");
        let offer = &frame[62..];
        assert_eq!((offer[..4].to_vec(), option(offer, 1)), (vec![2, 7, 8, 9], Some(b"client".as_slice())));
        assert_eq!(option(offer, 3).map(|value| value[16..32].to_vec()), Some(told().lease.octets().to_vec()));
        let server = option(offer, 2).expect("a server").to_vec();
        let reply = told().answer(&message(3, &[(2, server.as_slice())])).expect("a lease");
        assert_eq!(reply[62], 7);
        assert_eq!(told().answer(&message(3, &[(2, b"another".as_slice())])), None);
        let whole = message(1, &[]);
        for end in 0..whole.len() {
            assert_eq!(told().answer(&whole[..end]), None, "{end}");
        }
    }
}

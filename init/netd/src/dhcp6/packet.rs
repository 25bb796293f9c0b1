//! Messages: what we send, and what we read of answers.

use std::net::Ipv6Addr;

/// Ask for offers.
pub const SOLICIT: u8 = 1;
/// An offer.
pub const ADVERTISE: u8 = 2;
/// Take an offer.
pub const REQUEST: u8 = 3;
/// Keep a lease, of the server that gave it.
pub const RENEW: u8 = 5;
/// Keep a lease, of any server.
pub const REBIND: u8 = 6;
/// The answer to all but the first.
pub const REPLY: u8 = 7;

const CLIENT_ID: u16 = 1;
const SERVER_ID: u16 = 2;
const IA_NA: u16 = 3;
const ADDRESS: u16 = 5;
const WANTED: u16 = 6;
const ELAPSED: u16 = 8;
const STATUS: u16 = 13;
const DNS: u16 = 23;
/// Options looked at in one message, and servers taken from it.
const MOST_OPTIONS: usize = 64;
const MOST_SERVERS: usize = 8;
/// A server's identifier is at most this long.
const MOST_ID: usize = 130;

/// An address and what came with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The address.
    pub address: Ipv6Addr,
    /// Seconds until it ends.
    pub valid: u32,
    /// Seconds until it should be renewed; 0 leaves that to us.
    pub t1: u32,
    /// Seconds until anyone may renew it; 0 leaves that to us.
    pub t2: u32,
    /// Resolvers.
    pub nameservers: Vec<Ipv6Addr>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its type.
    pub kind: u8,
    /// The exchange that it belongs to; 24 bits.
    pub transaction: u32,
    /// The client that it is for.
    pub client: Vec<u8>,
    /// The server that sent it.
    pub server: Vec<u8>,
    /// The address that it gives; none when it refuses.
    pub lease: Option<Lease>,
}

/// Our identifier: the link's hardware address (DUID-LL).
pub fn identifier(mac: [u8; 6]) -> Vec<u8> {
    [&[0, 3, 0, 1], mac.as_slice()].concat()
}

/// A message to servers. `address` is asked for again where there is one.
pub fn encode(
    kind: u8,
    transaction: u32,
    mac: [u8; 6],
    server: &[u8],
    address: Option<Ipv6Addr>,
    elapsed: u16,
) -> Vec<u8> {
    let mut bytes = (transaction & 0x00ff_ffff | u32::from(kind) << 24).to_be_bytes().to_vec();
    option(&mut bytes, CLIENT_ID, &identifier(mac));
    if !server.is_empty() {
        option(&mut bytes, SERVER_ID, server);
    }
    // The link is named by the end of its address; T1 and T2 are the server's to choose.
    let [_, _, a, b, c, d] = mac;
    let mut association = vec![a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0];
    if let Some(address) = address {
        option(&mut association, ADDRESS, &[address.octets().as_slice(), &[0; 8]].concat());
    }
    option(&mut bytes, IA_NA, &association);
    option(&mut bytes, ELAPSED, &elapsed.to_be_bytes());
    option(&mut bytes, WANTED, &DNS.to_be_bytes());
    bytes
}

fn option(bytes: &mut Vec<u8>, code: u16, value: &[u8]) {
    bytes.extend(code.to_be_bytes());
    bytes.extend(u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
    bytes.extend(value);
}

/// Reads an answer; `None` for anything else.
pub fn decode(bytes: &[u8]) -> Option<Message> {
    let head = word(bytes, 0)?;
    let kind = (head >> 24) as u8;
    [ADVERTISE, REPLY].contains(&kind).then_some(())?;
    let mut message =
        Message { kind, transaction: head & 0x00ff_ffff, client: Vec::new(), server: Vec::new(), lease: None };
    let (mut nameservers, mut refused) = (Vec::new(), false);
    for (code, value) in options(bytes.get(4..)?) {
        match code {
            CLIENT_ID => message.client = value.get(..value.len().min(MOST_ID))?.to_vec(),
            SERVER_ID => message.server = value.get(..value.len().min(MOST_ID))?.to_vec(),
            STATUS => refused |= status(value) != 0,
            DNS => {
                let addresses = value.chunks_exact(16).filter_map(|chunk| <[u8; 16]>::try_from(chunk).ok());
                nameservers.extend(addresses.map(Ipv6Addr::from).take(MOST_SERVERS));
            }
            IA_NA => message.lease = association(value),
            _ => {}
        }
    }
    message.lease = message.lease.filter(|_| !refused).map(|lease| Lease { nameservers, ..lease });
    (!message.server.is_empty() && !message.client.is_empty()).then_some(message)
}

/// The first address of an association, when it is one that a host can have.
fn association(bytes: &[u8]) -> Option<Lease> {
    let (t1, t2) = (word(bytes, 4)?, word(bytes, 8)?);
    let mut lease = None;
    for (code, value) in options(bytes.get(12..)?) {
        match code {
            STATUS if status(value) != 0 => return None,
            ADDRESS if lease.is_none() => {
                let address = Ipv6Addr::from(<[u8; 16]>::try_from(value.get(..16)?).ok()?);
                let refused = options(value.get(24..)?).any(|(code, value)| code == STATUS && status(value) != 0);
                let fit = !address.is_unspecified() && !address.is_multicast() && !address.is_loopback();
                let valid = word(value, 20)?;
                if fit && !refused && valid > 0 {
                    lease = Some(Lease { address, valid, t1, t2, nameservers: Vec::new() });
                }
            }
            _ => {}
        }
    }
    lease.filter(|lease| t1 <= t2 && t2 <= lease.valid)
}

fn status(value: &[u8]) -> u16 {
    value.get(..2).and_then(|code| code.try_into().ok()).map_or(u16::MAX, u16::from_be_bytes)
}

fn options(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let code = u16::from_be_bytes(bytes.get(..2)?.try_into().ok()?);
        let length = usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?));
        let value = bytes.get(4..4 + length)?;
        bytes = bytes.get(4 + length..).unwrap_or_default();
        Some((code, value))
    })
    .take(MOST_OPTIONS)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub const MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0, 1];

    /// An answer as servers send it.
    pub fn answer(kind: u8, transaction: u32, address: &str, valid: u32) -> Vec<u8> {
        let mut bytes = (transaction | u32::from(kind) << 24).to_be_bytes().to_vec();
        option(&mut bytes, CLIENT_ID, &identifier(MAC));
        option(&mut bytes, SERVER_ID, &[0, 3, 0, 1, 9, 9, 9, 9, 9, 9]);
        let mut inner = address.parse::<Ipv6Addr>().unwrap().octets().to_vec();
        inner.extend(valid.to_be_bytes());
        inner.extend(valid.to_be_bytes());
        let mut association = vec![0, 0, 0, 1];
        association.extend((valid / 2).to_be_bytes());
        association.extend((valid / 4 * 3).to_be_bytes());
        option(&mut association, ADDRESS, &inner);
        option(&mut bytes, IA_NA, &association);
        option(&mut bytes, DNS, &"fd00::53".parse::<Ipv6Addr>().unwrap().octets());
        bytes
    }

    #[test]
    fn an_answer_gives_an_address_and_resolvers() {
        let message = decode(&answer(REPLY, 7, "fd00::5", 400)).unwrap();
        let lease = message.lease.unwrap();
        assert_eq!((lease.address.to_string().as_str(), lease.valid, lease.t1, lease.t2), ("fd00::5", 400, 200, 300));
        assert_eq!(lease.nameservers, ["fd00::53".parse::<Ipv6Addr>().unwrap()]);
        assert_eq!((message.transaction, message.client), (7, identifier(MAC)));
    }

    #[test]
    fn refusals_and_odd_addresses_give_none() {
        let mut refused = answer(REPLY, 7, "fd00::5", 400);
        option(&mut refused, STATUS, &[0, 2]);
        for bytes in
            [refused, answer(REPLY, 7, "ff02::1", 400), answer(REPLY, 7, "::", 400), answer(REPLY, 7, "fd00::5", 0)]
        {
            assert_eq!(decode(&bytes).unwrap().lease, None);
        }
    }

    #[test]
    fn noise_and_cut_messages_do_no_harm() {
        let whole = answer(ADVERTISE, 7, "fd00::5", 400);
        for cut in 0..whole.len() {
            let _ = decode(&whole[..cut]);
        }
        for fill in [0, 2, 7, 0xff] {
            assert_eq!(decode(&[fill; 300]).and_then(|message| message.lease), None);
        }
        // Our own questions are no answers.
        assert_eq!(decode(&encode(SOLICIT, 1, MAC, &[], None, 0)), None);
    }
}

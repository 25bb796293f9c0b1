//! DHCP messages as bytes (RFC 2131, options of RFC 2132 and 3442).

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

const MAGIC: [u8; 4] = [99, 130, 83, 99];
const OPTIONS_AT: usize = 240;
/// Entries taken of any list; more are of no use and might be an attack.
const MOST_ENTRIES: usize = 8;
/// Options asked for: mask, router, DNS, host name, domain, MTU, NTP, lease, server, T1, T2, classless routes.
const ASKED: [u8; 12] = [1, 3, 6, 12, 15, 26, 42, 51, 54, 58, 59, 121];

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Is there a server?
    Discover,
    /// There is, with this offer.
    Offer,
    /// I want it.
    Request,
    /// You have it.
    Ack,
    /// You cannot have it.
    Nak,
}

impl Kind {
    fn code(self) -> u8 {
        match self {
            Kind::Discover => 1,
            Kind::Offer => 2,
            Kind::Request => 3,
            Kind::Ack => 5,
            Kind::Nak => 6,
        }
    }

    fn of(code: u8) -> Option<Kind> {
        [Kind::Discover, Kind::Offer, Kind::Request, Kind::Ack, Kind::Nak].into_iter().find(|kind| kind.code() == code)
    }
}

/// What a server gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Address with its prefix.
    pub address: Ipv4Net,
    /// The server's identifier, which is its address.
    pub server: Ipv4Addr,
    /// Default gateways, best first.
    pub routers: Vec<Ipv4Addr>,
    /// Routes that replace the default gateway when there are any.
    pub routes: Vec<(Ipv4Net, Ipv4Addr)>,
    /// Resolvers.
    pub nameservers: Vec<Ipv4Addr>,
    /// Time servers.
    pub ntp: Vec<Ipv4Addr>,
    /// Search domain.
    pub domain: Option<String>,
    /// Name for this machine.
    pub hostname: Option<String>,
    /// Largest packet of the link.
    pub mtu: Option<u16>,
    /// Seconds that it lasts.
    pub seconds: u32,
    /// Seconds until it is to be renewed.
    pub renew: u32,
    /// Seconds until any server is asked.
    pub rebind: u32,
}

/// A message, of either side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// What it is.
    pub kind: Kind,
    /// Transaction.
    pub xid: u32,
    /// The client's hardware address.
    pub mac: [u8; 6],
    /// The client's address while it has one (renewal).
    pub client: Ipv4Addr,
    /// Address that is asked for.
    pub requested: Option<Ipv4Addr>,
    /// Server that is meant.
    pub server: Option<Ipv4Addr>,
    /// What is offered or given; of servers.
    pub lease: Option<Lease>,
}

/// Writes a message of a client.
pub fn encode(packet: &Packet, seconds: u16, hostname: &str) -> Vec<u8> {
    let mut bytes = vec![1, 1, 6, 0];
    bytes.extend(packet.xid.to_be_bytes());
    bytes.extend(seconds.to_be_bytes());
    // A client without an address cannot hear unicast: servers shall broadcast.
    bytes.extend(if packet.client.is_unspecified() { [0x80, 0] } else { [0, 0] });
    bytes.extend(packet.client.octets());
    bytes.extend([0; 12]);
    bytes.extend(packet.mac);
    bytes.resize(OPTIONS_AT - 4, 0);
    bytes.extend(MAGIC);
    let mut option = |code: u8, value: &[u8]| {
        if let Ok(length) = u8::try_from(value.len()) {
            bytes.extend([code, length]);
            bytes.extend_from_slice(value);
        }
    };
    option(53, &[packet.kind.code()]);
    option(61, &[&[1], packet.mac.as_slice()].concat());
    if let Some(requested) = packet.requested {
        option(50, &requested.octets());
    }
    if let Some(server) = packet.server {
        option(54, &server.octets());
    }
    if !hostname.is_empty() {
        option(12, hostname.as_bytes());
    }
    option(57, &1500u16.to_be_bytes());
    option(55, &ASKED);
    bytes.push(255);
    // Some relays drop messages shorter than BOOTP's.
    bytes.resize(bytes.len().max(300), 0);
    bytes
}

/// Reads a message of a server; `None` for anything that is not one, or that gives an address no host can have.
pub fn decode(bytes: &[u8]) -> Option<Packet> {
    (bytes.get(..3)? == [2, 1, 6] && bytes.get(OPTIONS_AT - 4..OPTIONS_AT)? == MAGIC).then_some(())?;
    let options = Options(bytes.get(OPTIONS_AT..)?);
    let kind = Kind::of(*options.get(53)?.first()?)?;
    let server = options.address(54);
    let lease = matches!(kind, Kind::Offer | Kind::Ack).then(|| lease(bytes, &options, server));
    Some(Packet {
        kind,
        xid: u32::from_be_bytes(bytes.get(4..8)?.try_into().ok()?),
        mac: bytes.get(28..34)?.try_into().ok()?,
        client: ipv4(bytes.get(12..16)?)?,
        requested: None,
        server,
        lease: match lease {
            Some(lease) => Some(lease?),
            None => None,
        },
    })
}

fn lease(bytes: &[u8], options: &Options<'_>, server: Option<Ipv4Addr>) -> Option<Lease> {
    let address = ipv4(bytes.get(16..20)?)?;
    let odd = address.is_unspecified() || address.is_multicast() || address.is_loopback() || address.is_broadcast();
    let mask = options.address(1).unwrap_or(Ipv4Addr::new(255, 255, 255, 0));
    let prefix = ipnet::ipv4_mask_to_prefix(mask).ok()?;
    // A lease of seconds would make every node a flood; one without a time is for an hour.
    let seconds = options.number(51).unwrap_or(3600).max(60);
    let renew = options.number(58).unwrap_or(seconds / 2).clamp(30, seconds);
    let rebind = options.number(59).unwrap_or(seconds / 8 * 7).clamp(renew, seconds);
    let lease = Lease {
        address: Ipv4Net::new(address, prefix).ok()?,
        server: server?,
        routers: options.addresses(3),
        routes: options.routes(),
        nameservers: options.addresses(6),
        ntp: options.addresses(42),
        domain: options.name(15),
        hostname: options.name(12),
        mtu: options
            .get(26)
            .and_then(|value| Some(u16::from_be_bytes(value.try_into().ok()?)))
            .filter(|mtu| *mtu >= 576),
        seconds,
        renew,
        rebind,
    };
    (!odd && prefix > 0).then_some(lease)
}

/// The options of a message; an option that comes in parts is taken by its first.
struct Options<'a>(&'a [u8]);

impl<'a> Options<'a> {
    fn get(&self, wanted: u8) -> Option<&'a [u8]> {
        let mut rest = self.0;
        loop {
            match *rest.first()? {
                0 => rest = rest.get(1..)?,
                255 => return None,
                code => {
                    let end = usize::from(*rest.get(1)?) + 2;
                    let value = rest.get(2..end)?;
                    if code == wanted {
                        return Some(value);
                    }
                    rest = rest.get(end..)?;
                }
            }
        }
    }

    fn address(&self, code: u8) -> Option<Ipv4Addr> {
        ipv4(self.get(code)?.get(..4)?)
    }

    fn addresses(&self, code: u8) -> Vec<Ipv4Addr> {
        self.get(code).unwrap_or_default().chunks_exact(4).filter_map(ipv4).take(MOST_ENTRIES).collect()
    }

    fn number(&self, code: u8) -> Option<u32> {
        Some(u32::from_be_bytes(self.get(code)?.try_into().ok()?))
    }

    /// A DNS name; anything else would go into files that others parse.
    fn name(&self, code: u8) -> Option<String> {
        let text = std::str::from_utf8(self.get(code)?).ok()?.trim_end_matches(['\0', '.']).to_ascii_lowercase();
        rk_config::is_dns_subdomain(&text).then_some(text)
    }

    /// RFC 3442: prefix length, the significant bytes of the destination, the gateway.
    fn routes(&self) -> Vec<(Ipv4Net, Ipv4Addr)> {
        let mut rest = self.get(121).unwrap_or_default();
        let mut routes = Vec::new();
        while routes.len() < MOST_ENTRIES
            && let Some((route, after)) = classless(rest)
        {
            routes.push(route);
            rest = after;
        }
        routes
    }
}

fn classless(bytes: &[u8]) -> Option<((Ipv4Net, Ipv4Addr), &[u8])> {
    let prefix = *bytes.first()?;
    let significant = usize::from(prefix).div_ceil(8);
    let mut octets = [0; 4];
    for (slot, byte) in octets.iter_mut().zip(bytes.get(1..1 + significant)?) {
        *slot = *byte;
    }
    let gateway = ipv4(bytes.get(1 + significant..5 + significant)?)?;
    Some(((Ipv4Net::new(octets.into(), prefix).ok()?.trunc(), gateway), bytes.get(5 + significant..)?))
}

fn ipv4(bytes: &[u8]) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A server's message with these options.
    pub(crate) fn reply(kind: Kind, xid: u32, mac: [u8; 6], address: [u8; 4], options: &[(u8, &[u8])]) -> Vec<u8> {
        let packet =
            Packet { kind, xid, mac, client: Ipv4Addr::UNSPECIFIED, requested: None, server: None, lease: None };
        let mut bytes = encode(&packet, 0, "");
        bytes[0] = 2;
        bytes[16..20].copy_from_slice(&address);
        bytes.truncate(OPTIONS_AT);
        bytes.extend([53, 1, kind.code()]);
        for (code, value) in options {
            bytes.extend([*code, value.len() as u8]);
            bytes.extend_from_slice(value);
        }
        bytes.push(255);
        bytes
    }

    const MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0, 1];
    const SERVER: (u8, &[u8]) = (54, &[10, 0, 2, 2]);

    #[test]
    fn an_ack_with_everything_is_read() {
        let bytes = reply(
            Kind::Ack,
            7,
            MAC,
            [10, 0, 2, 15],
            &[
                SERVER,
                (1, &[255, 255, 255, 0]),
                (3, &[10, 0, 2, 2]),
                (6, &[10, 0, 2, 3, 1, 1, 1, 1]),
                (15, b"Example.ORG"),
                (42, &[10, 0, 2, 9]),
                (26, &[5, 220]),
                (51, &86400u32.to_be_bytes()),
                (121, &[0, 10, 0, 2, 2, 16, 172, 16, 10, 0, 2, 4]),
            ],
        );
        let lease = decode(&bytes).unwrap().lease.unwrap();
        assert_eq!(lease.address.to_string(), "10.0.2.15/24");
        assert_eq!(lease.nameservers.len(), 2);
        assert_eq!(lease.domain.as_deref(), Some("example.org"));
        assert_eq!((lease.mtu, lease.seconds, lease.renew, lease.rebind), (Some(1500), 86400, 43200, 75600));
        assert_eq!(
            lease.routes.iter().map(|(to, via)| format!("{to} {via}")).collect::<Vec<_>>(),
            ["0.0.0.0/0 10.0.2.2", "172.16.0.0/16 10.0.2.4"]
        );
    }

    #[test]
    fn hostile_values_are_refused_or_bounded() {
        let read = |address, options: &[(u8, &[u8])]| decode(&reply(Kind::Ack, 1, MAC, address, options));
        assert_eq!(read([0, 0, 0, 0], &[SERVER]), None, "no address");
        assert_eq!(read([224, 0, 0, 1], &[SERVER]), None, "a group");
        assert_eq!(read([10, 0, 0, 1], &[]), None, "no server");
        assert_eq!(read([10, 0, 0, 1], &[SERVER, (1, &[255, 0, 255, 0])]), None, "a mask with holes");
        let short = read([10, 0, 0, 1], &[SERVER, (51, &1u32.to_be_bytes())]).unwrap().lease.unwrap();
        assert_eq!((short.seconds, short.renew), (60, 30));
        let odd =
            read([10, 0, 0, 1], &[SERVER, (15, b"x\nnameserver 6.6.6.6"), (12, b"$(reboot)")]).unwrap().lease.unwrap();
        assert_eq!((odd.domain, odd.hostname), (None, None));
        let many = [7; 252];
        assert_eq!(read([10, 0, 0, 1], &[SERVER, (6, &many)]).unwrap().lease.unwrap().nameservers.len(), MOST_ENTRIES);
    }

    #[test]
    fn no_cut_and_no_flip_makes_the_parser_fall() {
        let good = reply(Kind::Offer, 7, MAC, [10, 0, 2, 15], &[SERVER, (121, &[24, 10, 1, 1, 10, 0, 0, 1])]);
        for cut in 0..good.len() {
            let _ = decode(&good[..cut]);
        }
        for at in 0..good.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut bad = good.clone();
                bad[at] ^= flip;
                let _ = decode(&bad);
            }
        }
    }

    #[test]
    fn a_client_message_names_itself_and_what_it_wants() {
        let packet = Packet {
            kind: Kind::Request,
            xid: 0x0102_0304,
            mac: MAC,
            client: Ipv4Addr::UNSPECIFIED,
            requested: Some(Ipv4Addr::new(10, 0, 2, 15)),
            server: Some(Ipv4Addr::new(10, 0, 2, 2)),
            lease: None,
        };
        let bytes = encode(&packet, 3, "worker-1");
        let options = Options(&bytes[OPTIONS_AT..]);
        assert_eq!(options.get(53), Some([3].as_slice()));
        assert_eq!(options.address(50), packet.requested);
        assert_eq!(options.get(12), Some(b"worker-1".as_slice()));
        assert_eq!((&bytes[4..8], &bytes[28..34], bytes[10]), ([1, 2, 3, 4].as_slice(), MAC.as_slice(), 0x80));
    }
}

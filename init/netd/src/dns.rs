//! The little DNS that finding a server needs: a question for addresses of one family, one answer.
//!
//! Not through libc: a static program must not load name-service modules.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

const PORT: u16 = 53;
const PATIENCE: Duration = Duration::from_secs(2);
/// Records looked at in an answer.
const MOST_RECORDS: usize = 64;
/// Parts of a name; longer ones are not legal.
const MOST_LABELS: usize = 128;

/// What is asked for, as RFC 1035 and RFC 3596 number it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    A = 1,
    Aaaa = 28,
}

/// Asks the servers in turn for addresses of a name, those first to which there is a way; an address is its own answer.
///
/// # Errors
/// No server gave an answer in time, or the last one had none.
pub fn lookup(name: &str, servers: &[IpAddr], id: u16) -> io::Result<Vec<IpAddr>> {
    lookup_by(name, servers, is_routed, |kind, server| ask(name, kind, SocketAddr::new(server, PORT), id))
}

fn lookup_by(
    name: &str,
    servers: &[IpAddr],
    is_routed: impl Fn(&IpAddr) -> bool,
    ask: impl Fn(Kind, IpAddr) -> io::Result<Vec<IpAddr>>,
) -> io::Result<Vec<IpAddr>> {
    if let Ok(address) = name.parse() {
        return Ok(vec![address]);
    }
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "no name server is known");
    for server in servers {
        match both(&is_routed, |kind| ask(kind, *server)) {
            Ok(found) if !found.is_empty() => return Ok(found),
            Ok(_) => failure = io::Error::new(io::ErrorKind::NotFound, format!("{server} knows no address of {name}")),
            Err(err) => failure = io::Error::new(err.kind(), format!("{server}: {err}")),
        }
    }
    Err(failure)
}

/// What one server knows. The second question is for those only whom the first one's answer does not help, and for no server that left the
/// first one open: each costs all the patience.
fn both(is_routed: impl Fn(&IpAddr) -> bool, ask: impl Fn(Kind) -> io::Result<Vec<IpAddr>>) -> io::Result<Vec<IpAddr>> {
    let mut found = ask(Kind::A)?;
    if !found.iter().any(&is_routed) {
        match ask(Kind::Aaaa) {
            Ok(more) => found.extend(more),
            Err(err) if found.is_empty() => return Err(err),
            Err(_) => {}
        }
    }
    found.sort_by_key(|address| !is_routed(address));
    Ok(found)
}

/// Whether the kernel knows a way there; nothing is sent.
fn is_routed(address: &IpAddr) -> bool {
    bind_for(*address).and_then(|socket| socket.connect((*address, PORT))).is_ok()
}

/// A socket of the family of `peer`.
///
/// # Errors
/// The kernel has none.
pub(crate) fn bind_for(peer: IpAddr) -> io::Result<UdpSocket> {
    match peer {
        IpAddr::V4(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)),
        IpAddr::V6(_) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)),
    }
}

fn ask(name: &str, kind: Kind, server: SocketAddr, id: u16) -> io::Result<Vec<IpAddr>> {
    let socket = bind_for(server.ip())?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let question = question(name, kind, id).ok_or(io::ErrorKind::InvalidInput)?;
    socket.send(&question)?;
    let mut buffer = [0; 1500];
    // Late answers to other questions are passed over; a few, for the socket is new.
    for _ in 0..4 {
        let size = socket.recv(&mut buffer)?;
        if let Some(found) = answer(buffer.get(..size).unwrap_or_default(), id) {
            return Ok(found);
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

fn question(name: &str, kind: Kind, id: u16) -> Option<Vec<u8>> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.trim_end_matches('.').split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        bytes.push(length);
        bytes.extend(label.as_bytes());
    }
    bytes.extend([0, 0, kind as u8, 0, 1]);
    (bytes.len() <= 12 + 255 + 4).then_some(bytes)
}

/// The addresses in an answer to question `id`; `None` when it is not one.
pub(crate) fn answer(bytes: &[u8], id: u16) -> Option<Vec<IpAddr>> {
    (be16(bytes, 0)? == id && be16(bytes, 2)? & 0x8000 != 0).then_some(())?;
    let (questions, answers) = (be16(bytes, 4)?, be16(bytes, 6)?);
    let mut at = 12;
    for _ in 0..questions.min(4) {
        at = skip_name(bytes, at)? + 4;
    }
    let mut found = Vec::new();
    for _ in 0..usize::from(answers).min(MOST_RECORDS) {
        at = skip_name(bytes, at)?;
        let (kind, class, length) = (be16(bytes, at)?, be16(bytes, at + 2)?, usize::from(be16(bytes, at + 8)?));
        let data = bytes.get(at + 10..at + 10 + length)?;
        match (kind, class) {
            (1, 1) => found.push(IpAddr::from(<[u8; 4]>::try_from(data).ok()?)),
            (28, 1) => found.push(IpAddr::from(<[u8; 16]>::try_from(data).ok()?)),
            _ => {}
        }
        at += 10 + length;
    }
    Some(found)
}

/// The offset behind a name, which may end in a pointer; pointers are not followed, so there are no loops.
fn skip_name(bytes: &[u8], mut at: usize) -> Option<usize> {
    for _ in 0..MOST_LABELS {
        match usize::from(*bytes.get(at)?) {
            0 => return Some(at + 1),
            length if length >= 0xc0 => return Some(at + 2),
            length => at += 1 + length,
        }
    }
    None
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOUR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    const SIX: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

    fn reply() -> Vec<u8> {
        let mut bytes = question("pool.ntp.org", Kind::A, 7).unwrap();
        bytes[2] = 0x81;
        bytes[7] = 3;
        // A CNAME by pointer, then an A and an AAAA record.
        bytes.extend([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0, 2, 0xc0, 12]);
        bytes.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 1]);
        bytes.extend([0xc0, 12, 0, 28, 0, 1, 0, 0, 0, 9, 0, 16]);
        bytes.extend(SIX.octets());
        bytes
    }

    #[test]
    fn addresses_are_found_behind_aliases() {
        assert_eq!(answer(&reply(), 7), Some(vec![FOUR.into(), SIX.into()]));
        assert_eq!(answer(&reply(), 8), None, "another question");
        assert_eq!(answer(&question("a", Kind::Aaaa, 7).unwrap(), 7), None, "a question");
    }

    #[test]
    fn addresses_to_which_there_is_a_way_come_first_and_an_address_is_its_own_answer() {
        let (four, six) = (IpAddr::V4(FOUR), IpAddr::V6(SIX));
        let server = [IpAddr::V6(Ipv6Addr::LOCALHOST)];
        for (known, routed, told) in [
            (vec![four, six], vec![four, six], Some(vec![four])),
            (vec![four, six], vec![six], Some(vec![six, four])),
            (vec![six], vec![six], Some(vec![six])),
            (vec![four], vec![six], Some(vec![four])),
            (vec![], vec![six], None),
        ] {
            let ask = |kind: Kind, _| Ok(known.iter().copied().filter(|a| a.is_ipv4() == (kind == Kind::A)).collect());
            let found = lookup_by("ntp.example", &server, |address| routed.contains(address), ask);
            assert_eq!(found.ok(), told, "{known:?} {routed:?}");
        }
        let silent = |_, _| Err(io::ErrorKind::TimedOut.into());
        assert_eq!(lookup_by("a", &server, |_| true, silent).map_err(|e| e.kind()), Err(io::ErrorKind::TimedOut));
        let unnamed =
            |_, of: IpAddr| if of == server[0] { Err(io::ErrorKind::TimedOut.into()) } else { Ok(Vec::new()) };
        let servers = [server[0], four];
        let told = lookup_by("a", &servers, |_| true, unnamed).map_err(|e| e.kind());
        assert_eq!(told, Err(io::ErrorKind::NotFound), "the last one decides");
        for literal in ["192.0.2.1", "2001:db8::1"] {
            assert_eq!(lookup(literal, &[], 1).ok(), Some(vec![literal.parse().unwrap()]));
        }
    }

    #[test]
    fn no_cut_and_no_flip_makes_the_parser_fall() {
        let good = reply();
        for cut in 0..good.len() {
            let _ = answer(&good[..cut], 7);
        }
        for at in 0..good.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut bad = good.clone();
                bad[at] ^= flip;
                let _ = answer(&bad, 7);
            }
        }
    }

    #[test]
    fn a_server_is_asked_again_only_where_it_answered_and_that_was_of_no_help() {
        let (four, six) = (IpAddr::V4(FOUR), IpAddr::V6(SIX));
        let open = || io::Error::from(io::ErrorKind::TimedOut);
        for (routed, a, aaaa, questions, told) in [
            (true, Some(vec![four]), Some(vec![six]), 1, Some(vec![four])),
            (false, Some(vec![four]), Some(vec![six]), 2, Some(vec![four, six])),
            (false, Some(vec![four]), None, 2, Some(vec![four])),
            (true, Some(vec![]), Some(vec![six]), 2, Some(vec![six])),
            (true, Some(vec![]), None, 2, None),
            (true, None, Some(vec![six]), 1, None),
        ] {
            let asked = std::cell::Cell::new(0);
            let ask = |kind: Kind| {
                asked.set(asked.get() + 1);
                let known = if kind == Kind::A { &a } else { &aaaa };
                known.clone().ok_or_else(open)
            };
            let found = both(|_| routed, ask).ok();
            assert_eq!((found, asked.get()), (told, questions), "{routed} {a:?} {aaaa:?}");
        }
    }

    #[test]
    fn illegal_names_are_not_asked() {
        assert!(question(&"a".repeat(64), Kind::A, 1).is_none() && question("a..b", Kind::A, 1).is_none());
        assert!(question(&vec!["a".repeat(60); 6].join("."), Kind::A, 1).is_none());
    }
}

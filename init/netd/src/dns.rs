//! The little DNS that finding a time server needs: one A question, one answer.
//!
//! Not through libc: a static program must not load name-service modules.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

const PORT: u16 = 53;
const PATIENCE: Duration = Duration::from_secs(2);
/// Records looked at in an answer.
const MOST_RECORDS: usize = 64;
/// Parts of a name; longer ones are not legal.
const MOST_LABELS: usize = 128;

/// Asks the servers in turn for IPv4 addresses of a name; an address is its own answer.
///
/// # Errors
/// No server gave an answer in time, or the last one had none.
pub fn lookup(name: &str, servers: &[IpAddr], id: u16) -> io::Result<Vec<Ipv4Addr>> {
    if let Ok(address) = name.parse() {
        return Ok(vec![address]);
    }
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "no name server is known");
    for server in servers {
        match ask(name, SocketAddr::new(*server, PORT), id) {
            Ok(found) if !found.is_empty() => return Ok(found),
            Ok(_) => failure = io::Error::new(io::ErrorKind::NotFound, format!("{server} knows no address of {name}")),
            Err(err) => failure = io::Error::new(err.kind(), format!("{server}: {err}")),
        }
    }
    Err(failure)
}

fn ask(name: &str, server: SocketAddr, id: u16) -> io::Result<Vec<Ipv4Addr>> {
    let any: SocketAddr = if server.is_ipv4() { ([0; 4], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any)?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let question = question(name, id).ok_or(io::ErrorKind::InvalidInput)?;
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

fn question(name: &str, id: u16) -> Option<Vec<u8>> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.trim_end_matches('.').split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        bytes.push(length);
        bytes.extend(label.as_bytes());
    }
    bytes.extend([0, 0, 1, 0, 1]);
    (bytes.len() <= 12 + 255 + 4).then_some(bytes)
}

/// The A records of an answer to question `id`; `None` when it is not one.
pub(crate) fn answer(bytes: &[u8], id: u16) -> Option<Vec<Ipv4Addr>> {
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
        if kind == 1 && class == 1 {
            found.push(Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?));
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

    fn reply() -> Vec<u8> {
        let mut bytes = question("pool.ntp.org", 7).unwrap();
        bytes[2] = 0x81;
        bytes[7] = 2;
        // A CNAME by pointer, then an A record.
        bytes.extend([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0, 2, 0xc0, 12]);
        bytes.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 1]);
        bytes
    }

    #[test]
    fn addresses_are_found_behind_aliases() {
        assert_eq!(answer(&reply(), 7), Some(vec![Ipv4Addr::new(192, 0, 2, 1)]));
        assert_eq!(answer(&reply(), 8), None, "another question");
        assert_eq!(answer(&question("a", 7).unwrap(), 7), None, "a question");
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
    fn illegal_names_are_not_asked() {
        assert!(question(&"a".repeat(64), 1).is_none() && question("a..b", 1).is_none());
        assert!(question(&vec!["a".repeat(60); 6].join("."), 1).is_none());
    }
}

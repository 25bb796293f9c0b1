//! IPv4 and UDP headers, for a host that has no address yet.

use super::{CLIENT_PORT, SERVER_PORT};

const UDP: u8 = 17;

/// Puts a DHCP message to everyone into UDP and IPv4.
pub fn wrap_broadcast(payload: &[u8]) -> Vec<u8> {
    let udp_length = u16::try_from(payload.len() + 8).unwrap_or(u16::MAX);
    let length = udp_length.saturating_add(20);
    let mut header = vec![0x45, 0x10];
    header.extend(length.to_be_bytes());
    header.extend([0, 0, 0, 0, 64, UDP, 0, 0]);
    header.extend([0, 0, 0, 0]);
    header.extend([255, 255, 255, 255]);
    let sum = checksum(&header).to_be_bytes();
    for (slot, byte) in header.iter_mut().skip(10).zip(sum) {
        *slot = byte;
    }
    let mut packet = header;
    packet.extend(CLIENT_PORT.to_be_bytes());
    packet.extend(SERVER_PORT.to_be_bytes());
    packet.extend(udp_length.to_be_bytes());
    // No UDP checksum: IPv4 allows it.
    packet.extend([0, 0]);
    packet.extend_from_slice(payload);
    packet
}

/// Takes the message out of an IPv4 UDP packet that a DHCP server sent to a client; `None` for anything else.
pub fn unwrap_udp(packet: &[u8]) -> Option<&[u8]> {
    let first = *packet.first()?;
    (first >> 4 == 4).then_some(())?;
    let header = usize::from(first & 0x0f) * 4;
    (header >= 20 && *packet.get(9)? == UDP).then_some(())?;
    (checksum(packet.get(..header)?) == 0).then_some(())?;
    // A fragment has no whole header behind it.
    (be16(packet, 6)? & 0x3fff == 0).then_some(())?;
    let total = usize::from(be16(packet, 2)?);
    let udp = packet.get(header..total)?;
    (be16(udp, 0)? == SERVER_PORT && be16(udp, 2)? == CLIENT_PORT).then_some(())?;
    udp.get(8..usize::from(be16(udp, 4)?))
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

/// The internet checksum of RFC 1071; zero over a header that carries its own right one.
pub fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        let high = pair.first().copied().unwrap_or(0);
        let low = pair.get(1).copied().unwrap_or(0);
        sum += u32::from(u16::from_be_bytes([high, low]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_server(payload: &[u8]) -> Vec<u8> {
        let mut packet = wrap_broadcast(payload);
        packet[20..24].copy_from_slice(&[0, 67, 0, 68]);
        packet
    }

    #[test]
    fn what_a_server_wraps_is_unwrapped() {
        assert_eq!(unwrap_udp(&from_server(b"hello")), Some(b"hello".as_slice()));
        assert_eq!(unwrap_udp(&wrap_broadcast(b"hello")), None, "from a client");
    }

    #[test]
    fn short_broken_and_foreign_packets_are_refused() {
        let good = from_server(b"hello");
        for cut in 0..good.len() {
            assert_eq!(unwrap_udp(&good[..cut]), None);
        }
        for at in [0, 2, 9, 12, 6] {
            let mut bad = good.clone();
            bad[at] ^= 0x41;
            assert_eq!(unwrap_udp(&bad), None, "byte {at}");
        }
    }
}

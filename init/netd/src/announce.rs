//! Words to neighbours that an address is here now: gratuitous ARP and unsolicited neighbour advertisements.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const ETHER_ARP: u16 = 0x0806;
const ETHER_IPV6: u16 = 0x86dd;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
const ICMPV6: u8 = 58;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
/// RFC 4861, section 4.4: replace what is known of the address.
const OVERRIDE: u8 = 0x20;
const TARGET_LINK_LAYER_ADDRESS: u8 = 2;

/// A packet for a link: its EtherType, to which hardware address, and what.
#[derive(Debug, PartialEq, Eq)]
pub struct Announcement {
    pub ether_type: u16,
    pub to: [u8; 6],
    pub packet: Vec<u8>,
}

/// Says to all on a link that `ip` is at `mac`.
pub fn announcement(ip: IpAddr, mac: [u8; 6]) -> Announcement {
    match ip {
        IpAddr::V4(ip) => Announcement { ether_type: ETHER_ARP, to: [0xff; 6], packet: arp(ip, mac) },
        IpAddr::V6(ip) => Announcement { ether_type: ETHER_IPV6, to: ALL_NODES_MAC, packet: advertisement(ip, mac) },
    }
}

/// RFC 5227, section 2.3: a request whose sender and target are the same address.
fn arp(ip: Ipv4Addr, mac: [u8; 6]) -> Vec<u8> {
    // Ethernet, IPv4, their lengths, request.
    let mut packet = vec![0, 1, 8, 0, 6, 4, 0, 1];
    packet.extend(mac);
    packet.extend(ip.octets());
    packet.extend([0; 6]);
    packet.extend(ip.octets());
    packet
}

/// RFC 4861, section 7.2.6, in its IPv6 header.
fn advertisement(ip: Ipv6Addr, mac: [u8; 6]) -> Vec<u8> {
    let body = |sum: u16| {
        let mut body = vec![NEIGHBOUR_ADVERTISEMENT, 0];
        body.extend(sum.to_be_bytes());
        body.extend([OVERRIDE, 0, 0, 0]);
        body.extend(ip.octets());
        body.extend([TARGET_LINK_LAYER_ADDRESS, 1]);
        body.extend(mac);
        body
    };
    let length = u16::try_from(body(0).len()).unwrap_or(0);
    // The header that the checksum counts in: RFC 8200, section 8.1.
    let mut summed = Vec::from(ip.octets());
    summed.extend(ALL_NODES.octets());
    summed.extend(u32::from(length).to_be_bytes());
    summed.extend([0, 0, 0, ICMPV6]);
    summed.extend(body(0));
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(length.to_be_bytes());
    // Receivers refuse one that a router could have passed on.
    packet.extend([ICMPV6, 255]);
    packet.extend(ip.octets());
    packet.extend(ALL_NODES.octets());
    packet.extend(body(crate::dhcp::checksum(&summed)));
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [0x52, 0x54, 0, 0x77, 1, 10];

    #[test]
    fn ipv4_is_announced_by_a_request_for_itself() {
        let said = announcement("192.168.77.100".parse().unwrap(), MAC);
        assert_eq!((said.ether_type, said.to), (0x0806, [0xff; 6]));
        let (sender, target) = (&said.packet[8..18], &said.packet[18..28]);
        assert_eq!(sender, [0x52, 0x54, 0, 0x77, 1, 10, 192, 168, 77, 100]);
        assert_eq!(target, [0, 0, 0, 0, 0, 0, 192, 168, 77, 100]);
        assert_eq!(said.packet.len(), 28);
    }

    #[test]
    fn ipv6_is_announced_to_all_nodes_with_a_right_checksum() {
        let ip: Ipv6Addr = "fd00::9".parse().unwrap();
        let said = announcement(IpAddr::V6(ip), MAC);
        assert_eq!((said.ether_type, said.to), (0x86dd, [0x33, 0x33, 0, 0, 0, 1]));
        let (header, body) = said.packet.split_at(40);
        assert_eq!((header[6], header[7], usize::from(header[5])), (58, 255, body.len()));
        assert_eq!((&header[8..24], &body[8..24]), (ip.octets().as_slice(), ip.octets().as_slice()));
        assert_eq!(&body[24..], [2, 1, 0x52, 0x54, 0, 0x77, 1, 10]);
        // A sum over what carries its own right sum is zero.
        let mut summed = header[8..40].to_vec();
        summed.extend([0, 0, 0, 32, 0, 0, 0, 58]);
        summed.extend(body);
        assert_eq!(crate::dhcp::checksum(&summed), 0);
    }
}

//! Sockets of TCP and UDP, and whose they are.

use super::text;
use rk_machine_proto::v1::Socket;
use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Sockets told.
const MOST: usize = 16_384;
/// Bytes read of one table.
const MOST_TABLE: u64 = 4 << 20;
/// Descriptors looked at to find owners.
const MOST_DESCRIPTORS: usize = 65_536;
const STATES: [&str; 12] = [
    "",
    "ESTABLISHED",
    "SYN_SENT",
    "SYN_RECV",
    "FIN_WAIT1",
    "FIN_WAIT2",
    "TIME_WAIT",
    "CLOSE",
    "CLOSE_WAIT",
    "LAST_ACK",
    "LISTEN",
    "CLOSING",
];

/// Reads the tables of the machine's own network namespace.
pub fn read(listening_only: bool) -> Vec<Socket> {
    let mut found = Vec::new();
    for protocol in ["tcp", "tcp6", "udp", "udp6"] {
        found.extend(parse(protocol, &text(format!("/proc/1/net/{protocol}"), MOST_TABLE)));
    }
    let bound = |socket: &Socket| {
        socket.state == "LISTEN" || (socket.protocol.starts_with("udp") && socket.remote.ends_with(":0"))
    };
    found.retain(|(_, socket)| !listening_only || bound(socket));
    found.truncate(MOST);
    let owners = owners();
    for (inode, socket) in &mut found {
        if let Some(pid) = owners.get(inode) {
            socket.pid = *pid;
            socket.process = super::line(format!("/proc/{pid}/comm"));
        }
    }
    found.into_iter().map(|(_, socket)| socket).collect()
}

fn parse(protocol: &str, table: &str) -> Vec<(u64, Socket)> {
    table.lines().skip(1).take(MOST).filter_map(|line| row(protocol, line)).collect()
}

fn row(protocol: &str, line: &str) -> Option<(u64, Socket)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let state = usize::from_str_radix(fields.get(3)?, 16).ok()?;
    let (sent, received) = fields.get(4)?.split_once(':')?;
    let socket = Socket {
        protocol: protocol.to_owned(),
        local: endpoint(fields.get(1)?)?.to_string(),
        remote: endpoint(fields.get(2)?)?.to_string(),
        state: STATES.get(state).copied().unwrap_or_default().to_owned(),
        send_queue: u64::from_str_radix(sent, 16).ok()?,
        receive_queue: u64::from_str_radix(received, 16).ok()?,
        uid: fields.get(7)?.parse().ok()?,
        pid: 0,
        process: String::new(),
    };
    Some((fields.get(9)?.parse().ok()?, socket))
}

/// `0100007F:1F90`: words of the machine's byte order, then the port.
fn endpoint(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| u32::from_str_radix(address.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    let ip = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut octets = [0; 16];
            for (slot, byte) in octets.iter_mut().zip([word(0)?, word(8)?, word(16)?, word(24)?].concat()) {
                *slot = byte;
            }
            IpAddr::V6(Ipv6Addr::from(octets))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// Process by inode of socket.
fn owners() -> HashMap<u64, i32> {
    let mut owners = HashMap::new();
    let Ok(entries) = fs::read_dir("/proc") else { return owners };
    let mut seen = 0;
    for pid in entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()) {
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        for descriptor in descriptors.flatten() {
            seen += 1;
            if seen > MOST_DESCRIPTORS {
                return owners;
            }
            let inode = fs::read_link(descriptor.path())
                .ok()
                .and_then(|link| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
            if let Some(inode) = inode {
                owners.entry(inode).or_insert(pid);
            }
        }
    }
    owners
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_with_addresses_in_the_machines_byte_order() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                     0: 0100007F:1F90 00000000:0000 0A 00000000:00000002 00:00000000 00000000     7        0 4242 1\n";
        let rows = parse("tcp", table);
        let (inode, socket) = rows.first().unwrap();
        assert_eq!((*inode, socket.local.as_str(), socket.state.as_str()), (4242, "127.0.0.1:8080", "LISTEN"));
        assert_eq!((socket.uid, socket.receive_queue), (7, 2));
        assert_eq!(endpoint("00000000000000000000000001000000:0050").unwrap().to_string(), "[::1]:80");
        for torn in ["", "x", "0: zz:1 0:0 0A 0:0 0 0 0 0 1", "0: 0100007F:1F90"] {
            assert!(row("tcp", torn).is_none(), "{torn}");
        }
    }
}

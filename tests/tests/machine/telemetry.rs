//! What a machine tells of itself: figures on a port, logs to a receiver that comes and goes, to one of datagrams, to an operator who follows one.

use super::{Guest, running};
use rk_tests::{eventually, limit};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

/// The page of figures.
pub fn figures(guest: &Guest) -> Result<String, String> {
    let text = |err: std::io::Error| err.to_string();
    let mut stream = TcpStream::connect(guest.figures).map_err(text)?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).map_err(text)?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: node\r\n\r\n").map_err(text)?;
    let mut page = String::new();
    stream.read_to_string(&mut page).map_err(text)?;
    if page.starts_with("HTTP/1.1 200 OK") { Ok(page) } else { Err(page) }
}

/// Something to log for the machine API, which tells of every read of a file.
const READ: [&str; 3] = ["node", "read", "/etc/hosts"];
const LOGGED: &str = "reads \"/etc/hosts\"";

/// Asks a machine for all of them, and looks at what comes.
pub fn tells(guest: &Guest) {
    let receiver = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("listen");
    receiver.set_nonblocking(true).expect("socket");
    let datagrams = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    let port = receiver.local_addr().expect("address").port();
    let also = datagrams.local_addr().expect("address").port();
    let patch = format!(
        "{{metrics: {{bind: '0.0.0.0:9100'}}, logging: {{targets: [{{url: 'tcp://10.0.2.2:{port}', format: syslog}}, \
         {{url: 'udp://10.0.2.2:{also}', format: json}}]}}}}"
    );
    guest.rkctl(&["node", "config", "patch", &patch]).good();
    // Twice, for a receiver that hung up is called again.
    for wanted in ["- - - ", " machine - - - "] {
        let (mut stream, _) = eventually("a node that sends logs", limit(60), || {
            receiver.accept().map_err(|err| {
                guest.rkctl(&READ);
                err.to_string()
            })
        });
        stream.set_read_timeout(Some(limit(60))).expect("timeout");
        let (mut seen, mut buffer) = (String::new(), [0; 4096]);
        while !seen.contains(wanted) {
            let size = stream.read(&mut buffer).unwrap_or_default();
            assert_ne!(size, 0, "no {wanted:?} in {seen}");
            seen.push_str(&String::from_utf8_lossy(&buffer[..size]));
        }
        assert!(seen.contains(">1 20"), "no syslog: {seen}");
    }
    objects(guest, &datagrams);
    let page = eventually("figures", limit(30), || figures(guest));
    for name in [
        "node_load1 ",
        "node_memory_MemTotal_bytes ",
        "node_cpu_seconds_total{cpu=\"0\",mode=\"idle\"}",
        "node_network_receive_bytes_total{device=\"eth0\"}",
        "node_disk_read_bytes_total{device=\"vda\"}",
        "node_filesystem_avail_bytes{",
        "rk_boots_total 1\n",
        "rk_service_starts_total{service=\"netd\"} 1\n",
    ] {
        assert!(page.contains(name), "{name} is not in\n{page}");
    }
}

/// Each datagram is an object of its own; one of them tells of a read that was just done.
fn objects(guest: &Guest, receiver: &UdpSocket) {
    receiver.set_read_timeout(Some(Duration::from_secs(1))).expect("timeout");
    let mut buffer = [0; 4096];
    let record = eventually("a datagram of the machine API", limit(60), || {
        let mut last = "no datagram".to_owned();
        while let Ok(size) = receiver.recv(&mut buffer) {
            last = String::from_utf8_lossy(&buffer[..size]).into_owned();
            let record: Value = serde_json::from_str(&last).unwrap_or_else(|err| panic!("{err}: {last}"));
            let service = record["service"].as_str() == Some("machine");
            if service && record["message"].as_str().is_some_and(|message| message.contains(LOGGED)) {
                return Ok(record);
            }
        }
        guest.rkctl(&READ);
        Err(last)
    });
    assert_eq!(record["level"].as_str(), Some("info"), "{record}");
    for field in ["time", "host"] {
        assert!(record[field].as_str().is_some_and(|text| !text.is_empty()), "no {field} in {record}");
    }
}

/// Captures one packet, which is a question for an address by DHCP.
pub fn captures(guest: &Guest) {
    let one = ["capture", "eth0", "--packets", "1", "--protocol", "udp", "--port", "67", "--file", "one.pcap"];
    let args = [&["-n", guest.node.as_str(), "node"], one.as_slice()].concat();
    let _capture = guest.operator.start(&args, &guest.dir.join("capture.log"));
    let captured = eventually("a packet", limit(60), || {
        // A netd that begins asks for its address.
        guest.rkctl(&["node", "restart", "netd"]).good();
        let captured = std::fs::read(guest.dir.join("one.pcap")).map_err(|err| err.to_string())?;
        // Headers of the file and of a packet, and what Ethernet, IPv4, UDP and BOOTP have at least.
        if captured.len() >= 24 + 16 + 14 + 20 + 8 + 240 { Ok(captured) } else { Err(format!("{captured:?}")) }
    });
    let frame = &captured[24 + 16..];
    assert_eq!((&frame[12..14], frame[23]), ([8, 0].as_slice(), 17), "no UDP over IPv4: {frame:?}");
    // The cookie of DHCP (RFC 2131, 3).
    assert!(frame.windows(4).any(|at| at == [99, 130, 83, 99]), "no DHCP: {frame:?}");
}

#[test]
fn a_followed_log_goes_on_with_what_comes() {
    let guest = running("follow");
    let log = guest.dir.join("follow.log");
    let args = ["-n", guest.node.as_str(), "node", "logs", "machine", "--follow", "--tail", "1"];
    let follow = guest.operator.start(&args, &log);
    eventually("three lines that came later", limit(60), || {
        guest.rkctl(&READ).good();
        let said = follow.said();
        if said.matches(LOGGED).count() >= 3 { Ok(()) } else { Err(said) }
    });
    // PID 1 tells of what it does as an event and among the kernel's messages.
    for verb in ["events", "dmesg"] {
        let args = ["-n", guest.node.as_str(), "node", verb, "--follow"];
        let follow = guest.operator.start(&args, &guest.dir.join(format!("{verb}.log")));
        eventually(&format!("{verb} that came later"), limit(60), || {
            guest.rkctl(&["node", "restart", "netd"]).good();
            let said = follow.said();
            if said.matches("netd is restarted by the machine API").count() >= 3 { Ok(()) } else { Err(said) }
        });
    }
}

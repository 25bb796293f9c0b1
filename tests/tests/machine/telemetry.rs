//! What a machine tells of itself: figures on a port, logs to a receiver that comes and goes.

use super::Guest;
use rk_tests::{eventually, limit};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
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

/// Asks a machine for both, and looks at what comes.
pub fn tells(guest: &Guest) {
    let receiver = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("listen");
    receiver.set_nonblocking(true).expect("socket");
    let port = receiver.local_addr().expect("address").port();
    let patch = format!(
        "{{metrics: {{bind: '0.0.0.0:9100'}}, logging: {{targets: [{{url: 'tcp://10.0.2.2:{port}', format: syslog}}]}}}}"
    );
    guest.rkctl(&["node", "config", "patch", &patch]).good();
    // Twice, for a receiver that hung up is called again.
    for wanted in ["- - - ", " machine - - - "] {
        let (mut stream, _) = eventually("a node that sends logs", limit(60), || {
            receiver.accept().map_err(|err| {
                // Something for it to send: its own log tells of every read of a file.
                guest.rkctl(&["node", "read", "/etc/hosts"]);
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

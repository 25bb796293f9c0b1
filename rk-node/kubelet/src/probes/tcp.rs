//! TCP connect, for probes and as the base of HTTP.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};

/// Connects to an address or a name. The socket closes with RST semantics of its own: probes must not leave TIME_WAIT behind.
pub async fn connect(host: &str, port: u16) -> Result<TcpStream, String> {
    let mut last = format!("lookup {host}: no such host");
    for ip in addresses(host).await? {
        let socket = if ip.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.map_err(|e| e.to_string())?;
        // Thousands of probes a minute would otherwise pile up TIME_WAIT sockets.
        if let Err(error) = socket.set_zero_linger() {
            tracing::debug!("probe socket without linger: {error}");
        }
        match socket.connect(SocketAddr::new(ip, port)).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = format!("dial tcp {}: connect: {}", SocketAddr::new(ip, port), os_text(&error)),
        }
    }
    Err(last)
}

/// What an error of a socket says, in the words of its peers.
pub fn os_text(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => nix::errno::Errno::from_raw(code).desc().to_lowercase(),
        None => error.to_string(),
    }
}

/// The addresses of a host, by its name or as it is.
pub async fn addresses(host: &str) -> Result<Vec<IpAddr>, String> {
    if host == "localhost" {
        return Ok(vec![IpAddr::from([127, 0, 0, 1])]);
    }
    rk_resolve::lookup(host).await.map_err(|error| format!("lookup {host}: {error}"))
}

/// One probe: connecting is all there is to it.
pub async fn probe(host: &str, port: u16, timeout: Duration) -> Result<(), String> {
    match tokio::time::timeout(timeout, connect(host, port)).await {
        Ok(result) => result.map(drop),
        Err(_) => Err(format!("dial tcp {host}:{port}: i/o timeout")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_is_good_when_something_listens_and_told_of_when_nothing_does() {
        let limit = Duration::from_secs(60);
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = server.local_addr().unwrap().port();
        assert_eq!(probe("127.0.0.1", port, limit).await, Ok(()));
        assert_eq!(probe("localhost", port, limit).await, Ok(()));
        drop(server);
        let refused = format!("dial tcp 127.0.0.1:{port}: connect: connection refused");
        assert_eq!(probe("127.0.0.1", port, limit).await, Err(refused));
    }
}

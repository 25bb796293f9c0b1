//! The socket of the API.

use anyhow::{Context, bail};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

const PORT: u16 = 6443;
/// Ports tried after the usual one.
const TRIES: u16 = 100;
const PATIENCE: Duration = Duration::from_secs(2);

/// Listens on the given address, or on the first free port from 6443 on.
pub async fn listen(wanted: Option<SocketAddr>) -> anyhow::Result<TcpListener> {
    if let Some(address) = wanted {
        return bind(address)
            .await
            .with_context(|| format!("cannot listen on {address}; is another process using it?"));
    }
    for port in PORT..PORT + TRIES {
        let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        match TcpListener::bind(address).await {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(error).with_context(|| format!("cannot listen on {address}")),
        }
    }
    bail!("ports {PORT} to {} are all in use; choose one with --bind", PORT + TRIES - 1)
}

/// Waits a little for a predecessor that was killed and is not quite gone.
async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match TcpListener::bind(address).await {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            other => return other,
        }
    }
}

/// Host under which others reach a listener on this address, if nobody said so: the address itself, or the first
/// that does not loop back.
pub fn advertised(bound: SocketAddr, own: &[std::net::IpAddr]) -> String {
    if !bound.ip().is_unspecified() {
        return bound.ip().to_string();
    }
    let outward =
        own.iter().find(|ip| ip.is_ipv4() && !ip.is_loopback()).or_else(|| own.iter().find(|ip| !ip.is_loopback()));
    outward.map_or_else(|| "127.0.0.1".to_owned(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_is_skipped_unless_it_was_asked_for() {
        let first = listen(None).await.expect("free port");
        let second = listen(None).await.expect("free port");
        assert_ne!(first.local_addr().expect("bound").port(), second.local_addr().expect("bound").port());
        assert!(listen(first.local_addr().ok()).await.is_err());
    }

    #[test]
    fn an_address_that_others_can_reach_is_advertised() {
        let own = ["127.0.0.1".parse().expect("ip"), "fe80::1".parse().expect("ip"), "10.0.0.5".parse().expect("ip")];
        assert_eq!(advertised("0.0.0.0:6443".parse().expect("address"), &own), "10.0.0.5");
        assert_eq!(advertised("192.0.2.1:6443".parse().expect("address"), &own), "192.0.2.1");
        assert_eq!(advertised("0.0.0.0:6443".parse().expect("address"), &[]), "127.0.0.1");
    }
}

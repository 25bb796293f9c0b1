//! The sockets: UDP and TCP on the cluster DNS address.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use futures::FutureExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::DnsError;
use crate::respond::{Transport, respond};
use crate::upstream::Upstream;
use crate::zone::Zone;

/// Queries under way over UDP; the rest is dropped, and clients ask again.
const QUERIES: usize = 512;
/// Open TCP connections.
const CONNECTIONS: usize = 64;
/// How long a TCP client may be silent.
const IDLE: Duration = Duration::from_secs(10);
/// Largest query over UDP.
const QUERY_BYTES: usize = 4096;

/// Bound sockets.
pub(crate) struct Server {
    udp: Arc<UdpSocket>,
    tcp: TcpListener,
}

impl Server {
    pub(crate) async fn bind(address: SocketAddr) -> Result<Self, DnsError> {
        let listen = |source| DnsError::Listen { address, source };
        let udp = Arc::new(UdpSocket::bind(address).await.map_err(listen)?);
        let tcp = TcpListener::bind(address).await.map_err(listen)?;
        Ok(Self { udp, tcp })
    }

    pub(crate) async fn run(self, zone: Arc<RwLock<Zone>>, upstream: Arc<Upstream>) {
        tokio::join!(serve_udp(self.udp, &zone, &upstream), serve_tcp(self.tcp, &zone, &upstream));
    }
}

async fn serve_udp(socket: Arc<UdpSocket>, zone: &Arc<RwLock<Zone>>, upstream: &Arc<Upstream>) {
    let queries = Arc::new(Semaphore::new(QUERIES));
    let mut buffer = vec![0; QUERY_BYTES];
    loop {
        let (size, client) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            // A client that closed its socket makes the kernel report an error here; the socket itself is fine.
            Err(error) => {
                tracing::debug!(%error, "receiving a query failed");
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&queries).try_acquire_owned() else { continue };
        let packet = buffer.get(..size).unwrap_or_default().to_vec();
        let (socket, zone, upstream) = (Arc::clone(&socket), Arc::clone(zone), Arc::clone(upstream));
        let task = async move {
            let _permit = permit;
            if let Some(answer) = respond(&packet, Transport::Udp, &zone, &upstream).await
                && let Err(error) = socket.send_to(&answer, client).await
            {
                tracing::debug!(%client, %error, "an answer could not be sent");
            }
        };
        tokio::spawn(task.boxed());
    }
}

async fn serve_tcp(listener: TcpListener, zone: &Arc<RwLock<Zone>>, upstream: &Arc<Upstream>) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        // Closed never: the semaphore lives as long as this loop.
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, most likely; a short wait lets some be closed.
                tracing::warn!(%error, "a TCP client could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (zone, upstream) = (Arc::clone(zone), Arc::clone(upstream));
        let task = async move {
            let _permit = permit;
            if let Err(error) = converse(stream, &zone, &upstream).await {
                tracing::debug!(%error, "a TCP client is done");
            }
        };
        tokio::spawn(task.boxed());
    }
}

async fn converse(mut stream: TcpStream, zone: &RwLock<Zone>, upstream: &Upstream) -> io::Result<()> {
    loop {
        let size = timeout(IDLE, stream.read_u16()).await??;
        let mut packet = vec![0; size.into()];
        timeout(IDLE, stream.read_exact(&mut packet)).await??;
        let Some(answer) = respond(&packet, Transport::Tcp, zone, upstream).await else { return Ok(()) };
        let size = u16::try_from(answer.len()).map_err(io::Error::other)?;
        let mut framed = size.to_be_bytes().to_vec();
        framed.extend(answer);
        timeout(IDLE, stream.write_all(&framed)).await??;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::net::IpAddr;
    use std::process::Stdio;

    const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    async fn dig(port: u16, arguments: &[&str]) -> String {
        let output = tokio::process::Command::new("dig")
            .args([
                "@127.0.0.1",
                "-p",
                &port.to_string(),
                "+tries=1",
                "+time=30",
                "+noall",
                "+comments",
                "+answer",
                "+additional",
            ])
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .await
            .expect("dig is needed: it is in Debian's bind9-dnsutils, which `cargo xtask test` installs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A server of a zone with one service, asking `upstream_port` for foreign names.
    async fn serve(resolv_conf: &str) -> (u16, tempfile::TempDir) {
        let mut zone = Zone::new("cluster.local", LOOPBACK);
        let ports: Vec<_> = (1..=60).map(|n| json!({"name": format!("p{n}"), "port": n})).collect();
        for service in [
            json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": {"clusterIP": "10.96.0.7",
                "ports": [{"name": "http", "port": 80}]}}),
            json!({"metadata": {"name": "many", "namespace": "shop"}, "spec": {"clusterIP": "10.96.0.8", "ports": ports}}),
        ] {
            zone.set_service(&serde_json::from_value(service).unwrap());
        }
        zone.set_ready();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("resolv.conf");
        tokio::fs::write(&file, resolv_conf).await.unwrap();
        let server = loop {
            // Both transports need the same port, and only one of them picks it.
            let port = UdpSocket::bind((LOOPBACK, 0)).await.unwrap().local_addr().unwrap().port();
            if let Ok(server) = Server::bind(SocketAddr::new(LOOPBACK, port)).await {
                break server;
            }
        };
        let port = server.udp.local_addr().unwrap().port();
        let upstream = Arc::new(Upstream::new(file, "192.0.2.1".parse().unwrap()));
        tokio::spawn(server.run(Arc::new(RwLock::new(zone)), upstream));
        (port, dir)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn dig_gets_addresses_ports_names_and_refusals() {
        let (port, _dir) = serve("").await;
        let cases: [(&[&str], &[&str]); 7] = [
            (&["web.shop.svc.cluster.local"], &["status: NOERROR", " aa ", "10.96.0.7"]),
            (&["+tcp", "wEb.shop.svc.cluster.local"], &["wEb.shop.svc.cluster.local.", "10.96.0.7"]),
            (
                &["SRV", "_http._tcp.web.shop.svc.cluster.local"],
                &["0 100 80 web.shop.svc.cluster.local.", "ADDITIONAL: 2"],
            ),
            (&["-x", "10.96.0.7"], &["PTR\tweb.shop.svc.cluster.local."]),
            (&["none.shop.svc.cluster.local"], &["status: NXDOMAIN", "AUTHORITY: 1"]),
            (&["AAAA", "web.shop.svc.cluster.local"], &["status: NOERROR", "ANSWER: 0"]),
            (&["example.com"], &["status: SERVFAIL"]),
        ];
        for (arguments, wanted) in cases {
            let said = dig(port, arguments).await;
            for text in wanted {
                assert!(said.contains(text), "{arguments:?} wants {text:?} in:\n{said}");
            }
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_answer_that_does_not_fit_is_truncated_and_comes_whole_over_tcp() {
        let (port, _dir) = serve("").await;
        let cut = dig(port, &["+ignore", "+noedns", "SRV", "many.shop.svc.cluster.local"]).await;
        assert!(cut.contains(" tc ") && !cut.contains("ANSWER: 0") && !cut.contains("ANSWER: 60"), "{cut}");
        let whole = dig(port, &["SRV", "many.shop.svc.cluster.local"]).await;
        assert!(whole.contains("ANSWER: 60"), "{whole}");
    }

    #[tokio::test]
    async fn garbage_gets_an_error_or_silence_and_harms_nobody() {
        let (port, _dir) = serve("").await;
        let socket = UdpSocket::bind((LOOPBACK, 0)).await.unwrap();
        for packet in [&b""[..], b"x", &[0; 11], &[0xff; 512], b"\x12\x34\x01\x00\x00\x05\x00\x00\x00\x00\x00\x00\xc0"]
        {
            socket.send_to(packet, (LOOPBACK, port)).await.unwrap();
        }
        assert!(dig(port, &["web.shop.svc.cluster.local"]).await.contains("10.96.0.7"));
    }
}

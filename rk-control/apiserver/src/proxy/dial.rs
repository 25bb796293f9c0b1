//! Connections to kubelets and proxied backends, as HTTP/1.1 clients.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rk_api::status::{Reason, Status};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::http::Body;

/// How long a backend may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Whether an address is one that requests must not be proxied to: the server's own host and its neighbours on the link.
pub(super) fn is_forbidden(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local() || v4.is_unspecified() || v4.is_multicast(),
        IpAddr::V6(v6) => {
            let link_local = (v6.segments()[0] & 0xffc0) == 0xfe80;
            v6.is_loopback()
                || link_local
                || v6.is_unspecified()
                || v6.is_multicast()
                || v6.to_ipv4_mapped().is_some_and(|v4| is_forbidden(IpAddr::V4(v4)))
        }
    }
}

fn unreachable(address: SocketAddr, why: &dyn std::fmt::Display) -> Status {
    let mut status = Status::new(Reason::InternalError, format!("error dialing backend: dial tcp {address}: {why}"));
    status.code = 500;
    status
}

/// Opens a connection, with TLS when a configuration is given.
pub(super) async fn connect(
    address: SocketAddr,
    tls: Option<Arc<rustls::ClientConfig>>,
) -> Result<SendRequest<Body>, Status> {
    let open = async {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        match tls {
            None => handshake(stream).await,
            Some(config) => {
                let name = ServerName::IpAddress(address.ip().into());
                let stream = TlsConnector::from(config).connect(name, stream).await?;
                handshake(stream).await
            }
        }
    };
    match tokio::time::timeout(CONNECT_TIMEOUT, open).await {
        Ok(Ok(sender)) => Ok(sender),
        Ok(Err(error)) => Err(unreachable(address, &error)),
        Err(_) => Err(unreachable(address, &"i/o timeout")),
    }
}

/// Opens HTTP/1.1 on a stream; the connection lives as long as what is sent on it.
///
/// # Errors
/// The other end broke off.
pub(crate) async fn handshake(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<SendRequest<Body>, std::io::Error> {
    let (sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(std::io::Error::other)?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "backend connection ended");
        }
    });
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_own_host_is_no_proxy_target() {
        for address in ["127.0.0.1", "169.254.169.254", "0.0.0.0", "::1", "fe80::1", "::ffff:127.0.0.1", "224.0.0.1"] {
            assert!(is_forbidden(address.parse().unwrap()), "{address}");
        }
        for address in ["10.244.1.5", "192.168.77.11", "fd00::1"] {
            assert!(!is_forbidden(address.parse().unwrap()), "{address}");
        }
    }
}

//! Connections to kubelets and proxied backends, as HTTP/1.1 clients.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rk_api::status::{Reason, Status};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

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

/// Why a backend was not reached, in the words of Go's network errors.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreached(String);

impl Unreached {
    fn new(address: SocketAddr, error: &std::io::Error) -> Self {
        let text = error.to_string();
        match (error.kind(), error.raw_os_error()) {
            (ErrorKind::TimedOut, None) => Self(format!("dial tcp {address}: i/o timeout")),
            (_, Some(number)) => {
                let why = text.strip_suffix(&format!(" (os error {number})")).unwrap_or(&text).to_lowercase();
                Self(format!("dial tcp {address}: connect: {why}"))
            }
            _ => Self(text),
        }
    }

    /// What a request is told that would leave HTTP: 500 without a reason.
    pub(super) fn by_upgrade(&self) -> Status {
        Status::new(Reason::Unknown, format!("error dialing backend: {}", self.0))
    }

    /// A connection that broke off before the answer.
    pub(super) fn broken(error: &hyper::Error) -> Self {
        Self(if error.is_incomplete_message() { "EOF".to_owned() } else { error.to_string() })
    }

    /// What is told of a request that the server makes itself: 500 without a reason.
    pub(super) fn by_get(&self, url: &str) -> Status {
        Status::new(Reason::Unknown, format!("Get {url:?}: {}", self.0))
    }

    /// What any other proxied request is told: 503, upon which clients try again.
    pub(super) fn by_request(&self) -> Status {
        Status::new(Reason::ServiceUnavailable, format!("error trying to reach service: {}", self.0))
    }
}

/// Opens a connection, with TLS when a configuration is given.
pub(super) async fn connect(
    address: SocketAddr,
    tls: Option<Arc<rustls::ClientConfig>>,
) -> Result<SendRequest<Body>, Unreached> {
    let open = async {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        match tls {
            None => handshake(Either::Left(stream)).await,
            Some(config) => {
                let name = ServerName::IpAddress(address.ip().into());
                handshake(Either::Right(TlsConnector::from(config).connect(name, stream).await?)).await
            }
        }
    };
    let opened = tokio::time::timeout(CONNECT_TIMEOUT, open).await;
    opened.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into())).map_err(|error| Unreached::new(address, &error))
}

/// Opens HTTP/1.1 on a stream; the connection lives as long as what is sent on it. One type for all streams and all bodies: each further
/// one would be one more copy of the client in the program.
///
/// # Errors
/// The other end broke off.
pub(crate) async fn handshake(
    stream: Either<TcpStream, TlsStream<TcpStream>>,
) -> Result<SendRequest<Body>, std::io::Error> {
    let (sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(std::io::Error::other)?;
    let task = async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "backend connection ended");
        }
    };
    tokio::spawn(task.boxed());
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

    #[test]
    fn errors_read_as_go_words_them_and_have_the_code_of_their_request() {
        let address: SocketAddr = "10.244.1.5:80".parse().unwrap();
        let texts = [
            (std::io::Error::from_raw_os_error(111), "dial tcp 10.244.1.5:80: connect: connection refused"),
            (std::io::Error::from_raw_os_error(113), "dial tcp 10.244.1.5:80: connect: no route to host"),
            (ErrorKind::TimedOut.into(), "dial tcp 10.244.1.5:80: i/o timeout"),
            (std::io::Error::other("no certificate"), "no certificate"),
        ];
        for (error, text) in texts {
            let unreached = Unreached::new(address, &error);
            let (upgrade, request) = (unreached.by_upgrade(), unreached.by_request());
            assert_eq!((upgrade.code, upgrade.message), (500, format!("error dialing backend: {text}")));
            assert_eq!((request.code, request.message), (503, format!("error trying to reach service: {text}")));
            let own = unreached.by_get("https://10.244.1.5:80/a?b=c");
            let want = format!("Get \"https://10.244.1.5:80/a?b=c\": {text}");
            assert_eq!((own.code, own.reason, own.message), (500, Reason::Unknown, want));
        }
    }

    #[tokio::test]
    async fn a_port_that_nobody_listens_on_refuses() {
        // Held, so that nobody else gets it, and not listened on.
        let held = tokio::net::TcpSocket::new_v4().unwrap();
        held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = held.local_addr().unwrap();
        let unreached = connect(address, None).await.err();
        assert_eq!(unreached, Some(Unreached(format!("dial tcp {address}: connect: connection refused"))));
    }
}

//! One HTTP/1.1 request with bounds, over TCP or TLS.

use rustls::RootCertStore;
use rustls_pki_types::ServerName;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// Head and body together: a config is at most 256 KiB.
const MOST_BYTES: u64 = 512 << 10;
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a fetch failed.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No URL that we can fetch.
    #[error("{0:?} is not a URL such as http://host:port/path")]
    Url(String),
    /// The host's name has no address.
    #[error("looking up {host}")]
    Name {
        /// The name.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// The connection failed.
    #[error("talking to {host}")]
    Io {
        /// The host.
        host: String,
        /// What happened.
        source: io::Error,
    },
    /// It answered something else.
    #[error("{host} answered {status}")]
    Status {
        /// The host.
        host: String,
        /// The status line's number.
        status: u16,
    },
    /// It answered what is no HTTP.
    #[error("the answer of {0} is too large or not HTTP/1.1")]
    Protocol(String),
}

/// The parts of a URL.
#[derive(Debug, PartialEq, Eq)]
pub struct Url<'a> {
    pub(crate) tls: bool,
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    path: &'a str,
}

impl<'a> Url<'a> {
    /// Takes a URL apart.
    pub fn parse(text: &'a str) -> Option<Url<'a>> {
        let (scheme, rest) = text.split_once("://")?;
        let tls = match scheme {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let at = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = (rest.get(..at)?, rest.get(at..)?);
        let odd = |c: char| c.is_ascii_control() || c.is_whitespace() || !c.is_ascii();
        if authority.contains('@') || authority.contains(odd) || path.contains(odd) {
            return None;
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(v6) => {
                let (host, port) = v6.split_once(']')?;
                (host, port.strip_prefix(':'))
            }
            None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
        };
        let port = match port {
            Some(port) => port.parse().ok()?,
            None if tls => 443,
            None => 80,
        };
        (!host.is_empty()).then_some(Url { tls, host, port, path: if path.is_empty() { "/" } else { path } })
    }
}

/// Asks, and answers the body of a 200.
///
/// # Errors
/// See [`FetchError`].
pub async fn fetch(method: &str, url: &str, headers: &[(&'static str, String)]) -> Result<Vec<u8>, FetchError> {
    let parts = Url::parse(url).ok_or_else(|| FetchError::Url(url.to_owned()))?;
    let host = parts.host.to_owned();
    match tokio::time::timeout(PATIENCE, exchange(method, &parts, headers)).await {
        Ok(result) => result,
        Err(_) => Err(FetchError::Io { host, source: io::ErrorKind::TimedOut.into() }),
    }
}

async fn exchange(method: &str, url: &Url<'_>, headers: &[(&'static str, String)]) -> Result<Vec<u8>, FetchError> {
    let host = url.host.to_owned();
    let failed = |source| FetchError::Io { host: host.clone(), source };
    let address = resolve(url.host).await?;
    let stream = TcpStream::connect(SocketAddr::new(address, url.port)).await.map_err(failed)?;
    let shown = if url.host.contains(':') { format!("[{}]", url.host) } else { url.host.to_owned() };
    let mut request = format!("{method} {} HTTP/1.1\r\nhost: {shown}:{}\r\nconnection: close\r\n", url.path, url.port);
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("content-length: 0\r\n\r\n");
    let answer = if url.tls {
        let name = ServerName::try_from(url.host.to_owned()).map_err(|_| FetchError::Url(url.host.to_owned()))?;
        talk(connector().connect(name, stream).await.map_err(failed)?, &request, MOST_BYTES).await.map_err(failed)?
    } else {
        talk(stream, &request, MOST_BYTES).await.map_err(failed)?
    };
    match response(&answer, MOST_BYTES) {
        Some((200, body)) => Ok(body),
        Some((status, _)) => Err(FetchError::Status { host, status }),
        None => Err(FetchError::Protocol(host)),
    }
}

/// Sends a request and reads all of the answer, of at most so many bytes and one more.
pub(crate) async fn talk(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    request: &str,
    most: u64,
) -> io::Result<Vec<u8>> {
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    match stream.take(most + 1).read_to_end(&mut answer).await {
        Ok(_) => Ok(answer),
        // Many servers end TLS without saying so; what came is judged by its length.
        Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => Ok(answer),
        Err(err) => Err(err),
    }
}

fn connector() -> tokio_rustls::TlsConnector {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    tokio_rustls::TlsConnector::from(Arc::new(config))
}

/// An address of a host.
pub(crate) async fn resolve(host: &str) -> Result<IpAddr, FetchError> {
    if let Ok(address) = host.parse() {
        return Ok(address);
    }
    let name = host.to_owned();
    let found = tokio::task::spawn_blocking(move || rk_netd::resolve(&name)).await;
    let failed = |source| FetchError::Name { host: host.to_owned(), source };
    let addresses = found.map_err(|err| failed(io::Error::other(err)))?.map_err(failed)?;
    addresses.first().copied().ok_or_else(|| failed(io::ErrorKind::NotFound.into()))
}

/// Status and body of a whole answer; `None` when it is torn, too large, or no HTTP.
pub fn response(bytes: &[u8], most: u64) -> Option<(u16, Vec<u8>)> {
    if bytes.len() as u64 > most {
        return None;
    }
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(bytes.get(..end)?).ok()?;
    let body = bytes.get(end + 4..)?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
    let (mut length, mut chunked) = (None, false);
    for line in lines {
        let (name, value) = line.split_once(':')?;
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.trim().parse::<usize>().ok()?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            chunked = value.trim().eq_ignore_ascii_case("chunked");
        }
    }
    let body = match (chunked, length) {
        (true, _) => unchunk(body)?,
        (false, Some(length)) => body.get(..length)?.to_vec(),
        (false, None) => body.to_vec(),
    };
    Some((status, body))
}

fn unchunk(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = bytes.windows(2).position(|window| window == b"\r\n")?;
        let line = std::str::from_utf8(bytes.get(..end)?).ok()?;
        let size = usize::from_str_radix(line.split(';').next()?.trim(), 16).ok()?;
        bytes = bytes.get(end + 2..)?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(bytes.get(..size)?);
        bytes = bytes.get(size.checked_add(2)?..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart_and_odd_ones_refused() {
        let url = |tls, host, port, path| Some(Url { tls, host, port, path });
        assert_eq!(Url::parse("http://a/b?c"), url(false, "a", 80, "/b?c"));
        assert_eq!(Url::parse("https://[::1]:8443"), url(true, "::1", 8443, "/"));
        for odd in
            ["", "ftp://a", "http://", "http://a:x/", "http://u@a/", "http://a/b c", "http://a/\r\nx: y", "http://:80/"]
        {
            assert_eq!(Url::parse(odd), None, "{odd}");
        }
    }

    #[test]
    fn answers_are_read_whole_or_not_at_all() {
        let ok = |body: &[u8]| Some((200, body.to_vec()));
        assert_eq!(response(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 99), ok(b"hi"));
        assert_eq!(response(b"HTTP/1.0 200 OK\r\n\r\nhi", 99), ok(b"hi"));
        assert_eq!(
            response(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", 99),
            ok(b"hi")
        );
        assert_eq!(response(b"HTTP/1.1 404 no\r\ncontent-length: 0\r\n\r\n", 99), Some((404, vec![])));
        let torn: [&[u8]; 6] = [
            b"",
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n",
            b"SSH-2.0\r\n\r\n",
            b"HTTP/1.1 2\r\n\r\n",
        ];
        for bytes in torn {
            assert_eq!(response(bytes, 99), None);
        }
    }
}

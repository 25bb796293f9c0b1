//! A small blocking HTTP/1.1 client for peers on loopback: the registry, the API server, services of a test.
//!
//! One connection per request, bodies bounded, TLS by rustls with a pinned authority. It is not meant for the internet.

mod files;
mod message;

pub use files::serve_folder;
pub use message::Response;

use crate::{Error, Result};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A peer must take or give a byte at least this often.
const IO_LIMIT: Duration = Duration::from_secs(60);

/// What a request carries.
pub enum Body<'a> {
    /// Nothing.
    Empty,
    /// These bytes.
    Bytes(&'a [u8]),
    /// This whole file.
    File(&'a Path),
}

/// A client of one server.
#[derive(Clone)]
pub struct Client {
    address: SocketAddr,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    limit: Duration,
}

impl Client {
    /// Speaks plain HTTP to `address`.
    pub fn plain(address: SocketAddr) -> Client {
        Client { address, tls: None, limit: IO_LIMIT }
    }

    /// Speaks TLS to `address`, trusts `ca` (PEM) alone, and shows `identity` (certificate and key, PEM) when given.
    pub fn tls(address: SocketAddr, ca: &str, identity: Option<(&str, &str)>) -> Result<Client> {
        let bad = |what: &str, e: &dyn std::fmt::Display| Error::Certificate {
            subject: what.to_owned(),
            reason: e.to_string(),
        };
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(ca.as_bytes()).map_err(|e| bad("the authority", &e))?;
        roots.add(ca).map_err(|e| bad("the authority", &e))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| bad("the client", &e))?
            .with_root_certificates(roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<Vec<_>, _>>();
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|e| bad("the client", &e))?;
                let chain = chain.map_err(|e| bad("the client", &e))?;
                builder.with_client_auth_cert(chain, key).map_err(|e| bad("the client", &e))?
            }
        };
        let name = ServerName::IpAddress(address.ip().into());
        Ok(Client { address, tls: Some((Arc::new(config), name)), limit: IO_LIMIT })
    }

    /// Changes how long the peer may stay silent.
    pub fn with_limit(mut self, limit: Duration) -> Client {
        self.limit = limit;
        self
    }

    /// `GET`.
    pub fn get(&self, path: &str) -> Result<Response> {
        self.request("GET", path, &[], Body::Empty)
    }

    /// Sends one request and reads the whole answer, whatever its status.
    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Body<'_>) -> Result<Response> {
        let failed = |reason: String| Error::Http { method: method.to_owned(), url: self.url(path), reason };
        self.exchange(method, path, headers, body).map_err(|e| failed(e.to_string()))
    }

    /// As [`Client::request`]; another status than those of `wanted` is an error that tells the body.
    pub fn expect(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Body<'_>,
        wanted: &[u16],
    ) -> Result<Response> {
        let response = self.request(method, path, headers, body)?;
        if wanted.contains(&response.status) {
            return Ok(response);
        }
        let text = response.text();
        let short: String = text.chars().take(2000).collect();
        Err(Error::Http {
            method: method.to_owned(),
            url: self.url(path),
            reason: format!("status {}: {short}", response.status),
        })
    }

    fn url(&self, path: &str) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.address)
    }

    fn exchange(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Body<'_>,
    ) -> std::io::Result<Response> {
        let tcp = TcpStream::connect_timeout(&self.address, self.limit)?;
        tcp.set_read_timeout(Some(self.limit))?;
        tcp.set_write_timeout(Some(self.limit))?;
        tcp.set_nodelay(true)?;
        let head = message::request_head(method, path, &self.address.to_string(), headers, length(&body)?);
        match &self.tls {
            None => converse(tcp, &head, body, method),
            Some((config, name)) => {
                let session = ClientConnection::new(config.clone(), name.clone()).map_err(std::io::Error::other)?;
                converse(StreamOwned::new(session, tcp), &head, body, method)
            }
        }
    }
}

fn length(body: &Body<'_>) -> std::io::Result<u64> {
    Ok(match body {
        Body::Empty => 0,
        Body::Bytes(bytes) => bytes.len() as u64,
        Body::File(path) => std::fs::metadata(path)?.len(),
    })
}

fn converse(mut stream: impl Read + Write, head: &str, body: Body<'_>, method: &str) -> std::io::Result<Response> {
    stream.write_all(head.as_bytes())?;
    match body {
        Body::Empty => {}
        Body::Bytes(bytes) => stream.write_all(bytes)?,
        Body::File(path) => std::io::copy(&mut std::fs::File::open(path)?, &mut stream).map(drop)?,
    }
    stream.flush()?;
    message::read_response(stream, method)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;

    #[test]
    fn a_request_carries_its_body_and_gets_its_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("address");
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("accept");
            let mut reader = BufReader::new(stream.try_clone().expect("clone"));
            let mut head = String::new();
            while reader.read_line(&mut head).expect("line") > 2 {}
            let mut body = [0; 5];
            reader.read_exact(&mut body).expect("body");
            stream.write_all(b"HTTP/1.1 201 Created\r\nLocation: /x\r\nContent-Length: 2\r\n\r\nok").expect("answer");
            (head, body)
        });
        let response =
            Client::plain(address).request("PUT", "/v2/", &[("X-A", "b")], Body::Bytes(b"hello")).expect("request");
        let (head, body) = server.join().expect("server");
        assert!(head.starts_with("PUT /v2/ HTTP/1.1\r\n") && head.contains("X-A: b\r\n"), "{head}");
        assert_eq!(
            (&body, response.status, response.header("location"), response.text().as_str()),
            (b"hello", 201, Some("/x"), "ok")
        );
    }
}

//! TLS to a node.

use crate::args::host_and_port;
use crate::context::Context;
use crate::exit::{Class, Failure};
use anyhow::{Context as _, Result};
use hyper_util::rt::TokioIo;
use rk_machine_proto::{MAX_REPLY, MachineClient, SERVER_NAME};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

/// Of TCP and TLS together.
const CONNECT: Duration = Duration::from_secs(15);
const PING: Duration = Duration::from_secs(20);

/// A connected node.
pub type Client = MachineClient<Channel>;

/// Whom to believe.
#[derive(Clone)]
pub enum Trust {
    /// Nodes that the authority knows.
    Authority(Box<Context>),
    /// The one node of this fingerprint; it is in maintenance mode.
    Fingerprint(String),
}

/// Connects to `host[:port]`.
///
/// # Errors
/// It cannot be reached, or is not who it should be.
pub async fn connect(node: &str, trust: &Trust) -> Result<Client> {
    let (host, port) = host_and_port(node)
        .ok_or_else(|| Failure::new(Class::Usage, format!("{node:?} is not a node: write host or host:port")))?;
    let config = Arc::new(config(trust)?);
    let connecting = async {
        let stream = TcpStream::connect((host.as_str(), port)).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(SERVER_NAME).map_err(std::io::Error::other)?;
        TlsConnector::from(config).connect(name, stream).await
    };
    let away =
        |err: &dyn std::fmt::Display| Failure::new(Class::Unreachable, format!("cannot reach {host}:{port}: {err}"));
    let stream = match tokio::time::timeout(CONNECT, connecting).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(err)) if err.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) => {
            return Err(Failure::new(
                Class::Refused,
                format!("{host}:{port} and rkctl do not trust each other: {err}{}", hint(trust)),
            )
            .into());
        }
        Ok(Err(err)) => return Err(away(&err).into()),
        Err(_) => return Err(away(&"no answer in time").into()),
    };
    // One connection, made here: a lost one is an error and not silently another.
    let mut stream = Some(stream);
    let channel = Endpoint::from_static("http://machine.rk.internal")
        .http2_keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .connect_with_connector(tower::service_fn(move |_: http::Uri| {
            let stream = stream.take();
            async move { stream.map(TokioIo::new).ok_or_else(|| std::io::Error::other("the connection was lost")) }
        }))
        .await
        .map_err(|err| away(&err))?;
    Ok(MachineClient::new(channel).max_decoding_message_size(MAX_REPLY))
}

/// How to go on where the authority is the wrong way to know a node.
fn hint(trust: &Trust) -> &'static str {
    match trust {
        Trust::Authority(_) => "; a node that waits for a config is reached by --insecure and --fingerprint",
        Trust::Fingerprint(_) => "",
    }
}

fn config(trust: &Trust) -> Result<rustls::ClientConfig> {
    let builder = rustls::ClientConfig::builder();
    let mut config = match trust {
        Trust::Authority(context) => {
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(context.ca.as_bytes()) {
                roots
                    .add(certificate.context("reading ca of the operator's file")?)
                    .context("using ca of the operator's file")?;
            }
            let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(context.certificate.as_bytes()).collect();
            let key =
                PrivateKeyDer::from_pem_slice(context.key.as_bytes()).context("reading key of the operator's file")?;
            builder
                .with_root_certificates(roots)
                .with_client_auth_cert(chain.context("reading certificate of the operator's file")?, key)
                .context("using certificate and key of the operator's file")?
        }
        Trust::Fingerprint(wanted) => {
            let provider = CryptoProvider::get_default().context("no TLS provider is installed")?;
            let pinned = Pinned { wanted: normal(wanted)?, provider: Arc::clone(provider) };
            builder.dangerous().with_custom_certificate_verifier(Arc::new(pinned)).with_no_client_auth()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// `sha256:` and 64 hex digits, lower case; colons between digits are taken away.
fn normal(fingerprint: &str) -> Result<String> {
    let digits = fingerprint.strip_prefix("sha256:").unwrap_or(fingerprint).replace(':', "").to_ascii_lowercase();
    if digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(digits);
    }
    Err(Failure::new(Class::Usage, "a fingerprint is sha256: and 64 hex digits, as the node's console shows it").into())
}

/// Accepts one certificate alone, whoever signed it.
#[derive(Debug)]
struct Pinned {
    wanted: String,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let shown = hex::encode(Sha256::digest(end_entity));
        if shown == self.wanted {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::General(format!(
            "the node shows fingerprint sha256:{shown}, not the expected one; compare with its console"
        )))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_read_as_people_copy_them() {
        let digits = "ab".repeat(32);
        for text in [
            digits.clone(),
            format!("sha256:{digits}"),
            digits.to_uppercase(),
            format!("sha256:{}", vec!["AB"; 32].join(":")),
        ] {
            assert_eq!(normal(&text).unwrap(), digits);
        }
        assert!(normal("sha256:ab").is_err() && normal("").is_err());
    }
}

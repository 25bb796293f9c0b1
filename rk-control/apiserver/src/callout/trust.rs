//! Whom a call trusts: the authorities of its `caBundle`, or those of the system without one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::CalloutError;
use crate::anybody::Anybody;
use crate::identity::Identity;

/// Where Linux hosts keep the authorities that they trust, most usual first.
const SYSTEM: &[&str] =
    &["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];
/// Most settings kept, one per bundle; making one costs a millisecond.
const KEPT: usize = 128;

/// How a call is secured beside its bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Mode {
    /// The caller tells nothing of itself.
    Nobody,
    /// The caller is the front proxy.
    FrontProxy,
    /// As before, and the other side's certificate is not looked at, because the APIService says so.
    Unchecked,
}

/// TLS settings by bundle and mode.
pub(super) struct Trust {
    identity: Arc<Identity>,
    kept: Mutex<HashMap<(String, Mode), Arc<ClientConfig>>>,
}

impl Trust {
    pub(super) fn new(identity: Arc<Identity>) -> Self {
        Self { identity, kept: Mutex::default() }
    }

    /// The settings for a bundle: PEM in base64, as it stands in a `clientConfig`.
    pub(super) fn client(&self, bundle: &str, mode: Mode) -> Result<Arc<ClientConfig>, CalloutError> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (bundle.to_owned(), mode);
        if let Some(config) = kept.get(&key) {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(self.config(bundle, mode)?);
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(key, Arc::clone(&config));
        Ok(config)
    }

    fn config(&self, bundle: &str, mode: Mode) -> Result<ClientConfig, CalloutError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = match mode {
            Mode::Unchecked => Arc::new(Anybody(Arc::clone(&provider))),
            _ => Arc::new(verifier(bundle, &provider)?),
        };
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().map_err(CalloutError::new)?;
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        if mode == Mode::Nobody {
            return Ok(builder.with_no_client_auth());
        }
        let identity = Arc::clone(&self.identity);
        Ok(builder.with_client_cert_resolver(identity))
    }
}

fn verifier(bundle: &str, provider: &Arc<CryptoProvider>) -> Result<Verifier, CalloutError> {
    let pem = match bundle {
        "" => SYSTEM.iter().find_map(|path| std::fs::read(path).ok()).unwrap_or_default(),
        text => STANDARD.decode(text).map_err(|error| CalloutError(format!("caBundle is no base64: {error}")))?,
    };
    let certificates: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok).collect();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates.iter().cloned());
    if roots.is_empty() {
        return Err(match bundle {
            "" => unknown_authority(),
            _ => CalloutError::new("unable to load root certificates: unable to parse bytes as PEM block"),
        });
    }
    let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build();
    Ok(Verifier { chain: chain.map_err(CalloutError::new)?, pinned: certificates })
}

fn unknown_authority() -> CalloutError {
    CalloutError::new("tls: failed to verify certificate: x509: certificate signed by unknown authority")
}

/// A failed handshake in upstream's words.
pub(super) fn explain(error: &std::io::Error) -> CalloutError {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        // What this library has no word for is, too, a chain that leads to nobody who is trusted.
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::Other(_))) => {
            unknown_authority()
        }
        Some(rustls::Error::InvalidCertificate(why)) => {
            CalloutError(format!("tls: failed to verify certificate: x509: {why}"))
        }
        _ => CalloutError::new(error),
    }
}

/// Checks chains as usual, and takes besides a certificate that is in the bundle itself for its own names: a self-signed one is
/// both authority and server, which upstream's clients accept and the usual check does not.
#[derive(Debug)]
struct Verifier {
    chain: Arc<WebPkiServerVerifier>,
    pinned: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let judged = self.chain.verify_server_cert(end_entity, intermediates, server_name, ocsp, now);
        if judged.is_err() && self.pinned.iter().any(|own| own == end_entity) && in_time(end_entity, now) {
            rustls::client::verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            return Ok(ServerCertVerified::assertion());
        }
        judged
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

fn in_time(certificate: &CertificateDer<'_>, now: UnixTime) -> bool {
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else { return false };
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    x509_parser::time::ASN1Time::from_timestamp(now).is_ok_and(|now| parsed.validity().is_valid_at(now))
}

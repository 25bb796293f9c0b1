//! TLS configurations: trusting the cluster's CA, trusting nobody yet (discovery, probes), and certificates that can be swapped.

use std::sync::{Arc, RwLock};

use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring::default_provider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::pki::{Identity, PkiError};

fn provider() -> Arc<CryptoProvider> {
    Arc::new(default_provider())
}

/// The certificates of a PEM bundle as trust anchors.
pub fn roots(ca_pem: &str) -> Result<RootCertStore, PkiError> {
    let mut roots = RootCertStore::empty();
    for der in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        let der = der.map_err(|e| PkiError::Malformed { what: "cluster CA", reason: e.to_string() })?;
        roots.add(der).map_err(|e| PkiError::Malformed { what: "cluster CA", reason: e.to_string() })?;
    }
    if roots.is_empty() {
        return Err(PkiError::Malformed { what: "cluster CA", reason: "the bundle holds no certificate".into() });
    }
    Ok(roots)
}

/// A key pair in the form that rustls wants.
pub fn certified(identity: &Identity) -> Result<Arc<CertifiedKey>, PkiError> {
    CertifiedKey::from_der(identity.chain(), identity.key()?, &default_provider())
        .map(Arc::new)
        .map_err(|e| PkiError::Malformed { what: "key pair", reason: e.to_string() })
}

/// A client configuration that trusts `ca_pem` and shows `identity`.
pub fn client_config(ca_pem: &str, identity: Option<&Identity>) -> Result<ClientConfig, PkiError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| PkiError::Malformed { what: "TLS settings", reason: e.to_string() })?
        .with_root_certificates(roots(ca_pem)?);
    Ok(match identity {
        Some(identity) => builder.with_client_cert_resolver(Arc::new(FixedClientCert(certified(identity)?))),
        None => builder.with_no_client_auth(),
    })
}

/// A client configuration for servers that the public authorities vouch for, or the cluster's own.
pub fn public_servers(ca_pem: &str) -> Result<ClientConfig, PkiError> {
    let mut trusted = roots(ca_pem)?;
    trusted.roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    Ok(ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| PkiError::Malformed { what: "TLS settings", reason: e.to_string() })?
        .with_root_certificates(trusted)
        .with_no_client_auth())
}

/// A client configuration that accepts any server: for discovery, whose answer is checked against the pin, and for probes.
pub fn any_server() -> Result<ClientConfig, PkiError> {
    Ok(ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| PkiError::Malformed { what: "TLS settings", reason: e.to_string() })?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer(default_provider())))
        .with_no_client_auth())
}

#[derive(Debug)]
struct FixedClientCert(Arc<CertifiedKey>);

impl ResolvesClientCert for FixedClientCert {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct AnyServer(CryptoProvider);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// The certificate of the kubelet's HTTPS server; replaced when a new one is issued.
#[derive(Clone, Debug)]
pub struct ServingCert(Arc<RwLock<Arc<CertifiedKey>>>);

impl ServingCert {
    /// Starts with `identity`.
    pub fn new(identity: &Identity) -> Result<Self, PkiError> {
        Ok(Self(Arc::new(RwLock::new(certified(identity)?))))
    }

    /// Serves `identity` from the next handshake on.
    pub fn replace(&self, identity: &Identity) -> Result<(), PkiError> {
        let key = certified(identity)?;
        *self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner) = key;
        Ok(())
    }
}

impl ResolvesServerCert for ServingCert {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone())
    }
}

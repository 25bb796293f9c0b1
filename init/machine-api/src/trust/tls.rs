//! TLS 1.3 and 1.2 with client certificates; without them in maintenance mode alone.

use super::identity::{Identity, TrustError};
use rustls::RootCertStore;
use rustls::crypto::ring::{default_provider, sign::any_supported_type};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::sync::{Arc, PoisonError, RwLock};
use tokio_rustls::TlsAcceptor;

/// Authorities in `machineApi.ca`: the one in use, and its successor while they change.
const MOST_AUTHORITIES: usize = 8;

/// Gives each connection the certificate of the moment, so that a rotation breaks none.
#[derive(Debug)]
pub struct Resolver {
    current: RwLock<Arc<CertifiedKey>>,
}

impl Resolver {
    /// Starts with this identity.
    ///
    /// # Errors
    /// The key is of a kind that TLS does not know.
    pub fn new(identity: &Identity) -> Result<Resolver, TrustError> {
        Ok(Resolver { current: RwLock::new(certified(identity)?) })
    }

    /// Uses this identity from the next connection on.
    ///
    /// # Errors
    /// As [`Resolver::new`]; then the old one stays.
    pub fn replace(&self, identity: &Identity) -> Result<(), TrustError> {
        let new = certified(identity)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn certified(identity: &Identity) -> Result<Arc<CertifiedKey>, TrustError> {
    let key = any_supported_type(&identity.key).map_err(|source| TrustError::Tls { what: "the node's key", source })?;
    let certified = CertifiedKey::new(identity.chain.clone(), key);
    certified
        .keys_match()
        .map_err(|source| TrustError::Tls { what: "certificate and key that do not belong together", source })?;
    Ok(Arc::new(certified))
}

/// An acceptor that demands a client certificate by `authority` (PEM); with none, it takes anyone.
///
/// # Errors
/// The authority is unreadable.
pub fn acceptor(resolver: Arc<Resolver>, authority: Option<&str>) -> Result<TlsAcceptor, TrustError> {
    let provider = Arc::new(default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|source| TrustError::Tls { what: "protocol versions", source })?;
    let builder = match authority {
        Some(pem) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(pem)?), provider)
                .build()
                .map_err(|err| TrustError::Verifier(err.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"h2".to_vec()];
    // A session that is resumed would skip nothing that we check, but its tickets are memory.
    config.send_tls13_tickets = 0;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn roots(pem: &str) -> Result<RootCertStore, TrustError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()).take(MOST_AUTHORITIES) {
        let certificate = certificate.map_err(|_| TrustError::Pem { what: "machineApi.ca" })?;
        roots.add(certificate).map_err(|source| TrustError::Tls { what: "machineApi.ca", source })?;
    }
    if roots.is_empty() { Err(TrustError::Pem { what: "machineApi.ca" }) } else { Ok(roots) }
}

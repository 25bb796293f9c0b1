//! What this server shows of itself in TLS handshakes. It is exchanged while the server runs: a new handshake sees the new certificate, and
//! what is open stays open.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::pki::Credential;
use crate::server::StartError;
use crate::tls;

/// A certificate with its key, as server or as client.
#[derive(Debug)]
pub(crate) struct Identity {
    what: &'static str,
    shown: RwLock<Arc<CertifiedKey>>,
}

impl Identity {
    /// From PEM; `what` names it in errors.
    pub(crate) fn new(credential: &Credential, what: &'static str) -> Result<Arc<Self>, StartError> {
        let shown = RwLock::new(Arc::new(tls::certified(credential, what)?));
        Ok(Arc::new(Self { what, shown }))
    }

    /// Shows another from now on; one that cannot be used changes nothing.
    pub(crate) fn replace(&self, credential: &Credential) -> Result<(), StartError> {
        let new = Arc::new(tls::certified(credential, self.what)?);
        *self.shown.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    fn shown(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.shown.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.shown())
    }
}

impl ResolvesClientCert for Identity {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.shown())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential(name: &str) -> Credential {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        Credential { certificate: made.cert.pem(), key: made.signing_key.serialize_pem() }
    }

    #[test]
    fn one_that_cannot_be_used_leaves_the_one_before() {
        let (first, second) = (credential("first"), credential("second"));
        let identity = Identity::new(&first, "a certificate").unwrap();
        let before = identity.shown().cert.clone();
        let torn = Credential { certificate: second.certificate.clone(), key: first.key };
        assert!(identity.replace(&torn).is_err());
        assert_eq!(identity.shown().cert, before);
        identity.replace(&second).unwrap();
        assert_ne!(identity.shown().cert, before);
    }
}

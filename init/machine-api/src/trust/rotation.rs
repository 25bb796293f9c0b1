//! A new certificate for the node: it makes a key and a request, the operator's `rkctl` signs, the node takes it into use.
//!
//! The authority's key never comes near a node, and the node's new key never leaves it.

use super::certificate::facts;
use super::identity::{Identity, TrustError};
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, SanType};
use rk_machine_proto::SERVER_NAME;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use x509_parser::prelude::{FromDer, X509Certificate};

/// The key of the last request, until its certificate comes. A newer request replaces it.
#[derive(Debug, Default)]
pub struct Rotation {
    pending: Mutex<Option<String>>,
}

impl Rotation {
    /// Makes a key and a request (PEM) for this host name and these addresses.
    ///
    /// # Errors
    /// No randomness, or a name that no certificate takes.
    pub fn request(&self, hostname: &str, addresses: &[IpAddr]) -> Result<String, TrustError> {
        let failed = |source| TrustError::Certificate { what: "making a certificate request", source };
        let key = KeyPair::generate().map_err(failed)?;
        let names = [SERVER_NAME, hostname].into_iter().filter(|name| !name.is_empty()).map(str::to_owned);
        let mut params = CertificateParams::new(names.collect::<Vec<_>>()).map_err(failed)?;
        params.subject_alt_names.extend(addresses.iter().map(|address| SanType::IpAddress(*address)));
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, hostname);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let request = params.serialize_request(&key).and_then(|request| request.pem()).map_err(failed)?;
        *self.pending.lock().unwrap_or_else(PoisonError::into_inner) = Some(key.serialize_pem());
        Ok(request)
    }

    /// Checks a certificate against the pending key and the authority. Returns the identity, and its key in PEM.
    ///
    /// # Errors
    /// There was no request, or the certificate is not for its key, not by the authority, without the nodes' name, or not valid now.
    pub fn accept(&self, certificate: &str, authority: &str) -> Result<(Identity, String), TrustError> {
        let pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(key) = pending else {
            return Err(TrustError::Refused("no certificate was requested since this process started"));
        };
        let identity = Identity::from_pem(certificate, &key)?;
        let pair = KeyPair::from_pem(&key)
            .map_err(|source| TrustError::Certificate { what: "reading the pending key", source })?;
        let leaf = identity.chain.first().ok_or(TrustError::Pem { what: "the certificate" })?;
        let (_, parsed) = X509Certificate::from_der(leaf).map_err(|_| TrustError::Pem { what: "the certificate" })?;
        use rcgen::PublicKeyData;
        if parsed.public_key().raw != pair.subject_public_key_info() {
            return Err(TrustError::Refused("the certificate is for another key than the last request's"));
        }
        if !signed_by(&parsed, authority) {
            return Err(TrustError::Refused("the certificate is not signed by the authority in machineApi.ca"));
        }
        let told = facts(leaf).ok_or(TrustError::Pem { what: "the certificate" })?;
        if !told.names.iter().any(|name| name == SERVER_NAME) {
            return Err(TrustError::Refused(
                "the certificate lacks the DNS name machine.rk.internal, by which clients know nodes",
            ));
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if told.not_after <= i64::try_from(now).unwrap_or(i64::MAX) {
            return Err(TrustError::Refused("the certificate has expired"));
        }
        Ok((identity, key))
    }

    /// Forgets the pending key, once it is in use.
    pub fn done(&self) {
        *self.pending.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn signed_by(certificate: &X509Certificate<'_>, authority: &str) -> bool {
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject;
    CertificateDer::pem_slice_iter(authority.as_bytes()).take(8).flatten().any(|der| {
        X509Certificate::from_der(&der)
            .is_ok_and(|(_, own)| certificate.verify_signature(Some(own.public_key())).is_ok())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateSigningRequestParams, IsCa, Issuer};

    fn authority() -> (String, Issuer<'static, KeyPair>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        (params.self_signed(&key).unwrap().pem(), Issuer::new(params, key))
    }

    fn sign(request: &str, issuer: &Issuer<'static, KeyPair>) -> String {
        CertificateSigningRequestParams::from_pem(request).unwrap().signed_by(issuer).unwrap().pem()
    }

    #[test]
    fn a_certificate_is_taken_for_the_last_request_by_the_authority_alone() {
        let (ca, issuer) = authority();
        let (_, stranger) = authority();
        let rotation = Rotation::default();
        assert!(rotation.accept("", &ca).is_err());
        let first = rotation.request("node-1", &["10.0.0.1".parse().unwrap()]).unwrap();
        let second = rotation.request("node-1", &[]).unwrap();
        assert!(rotation.accept(&sign(&first, &issuer), &ca).is_err());
        assert!(rotation.accept(&sign(&second, &stranger), &ca).is_err());
        let (identity, _) = rotation.accept(&sign(&second, &issuer), &ca).unwrap();
        assert_eq!(identity.chain.len(), 1);
        rotation.done();
        assert!(rotation.accept(&sign(&second, &issuer), &ca).is_err());
    }
}

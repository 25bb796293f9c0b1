//! The node's certificate and key: from its config, or made for the time until it has one.

use super::certificate::fingerprint;
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use rk_machine_proto::SERVER_NAME;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Certificates in one chain.
const MOST_CHAIN: usize = 8;

/// Why trust could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A text is no PEM of the wanted kind.
    #[error("{what} is not readable PEM")]
    Pem {
        /// Which text.
        what: &'static str,
    },
    /// A certificate could not be made or read.
    #[error("{what}")]
    Certificate {
        /// Which one.
        what: &'static str,
        /// What the library said.
        source: rcgen::Error,
    },
    /// TLS refuses what it was given.
    #[error("TLS cannot be set up with {what}")]
    Tls {
        /// What it was given.
        what: &'static str,
        /// What the library said.
        source: rustls::Error,
    },
    /// The authority is none.
    #[error("machineApi.ca cannot verify clients: {0}")]
    Verifier(String),
    /// A certificate is not for the key of the last request, or not by the authority.
    #[error("{0}")]
    Refused(&'static str),
}

/// A chain and its key.
#[derive(Debug)]
pub struct Identity {
    /// The node's own first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Identity { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

impl Identity {
    /// Reads both from PEM.
    ///
    /// # Errors
    /// One of them is something else.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Identity, TrustError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate.as_bytes())
            .take(MOST_CHAIN)
            .collect::<Result<_, _>>()
            .map_err(|_| TrustError::Pem { what: "machineApi.identity.certificate" })?;
        if chain.is_empty() {
            return Err(TrustError::Pem { what: "machineApi.identity.certificate" });
        }
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|_| TrustError::Pem { what: "machineApi.identity.key" })?;
        Ok(Identity { chain, key })
    }

    /// Makes one that nobody signed, for maintenance mode: its fingerprint on the console is what makes it believable.
    ///
    /// # Errors
    /// No randomness.
    pub fn self_signed() -> Result<Identity, TrustError> {
        let failed = |source| TrustError::Certificate { what: "making a certificate for maintenance", source };
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = CertificateParams::new(vec![SERVER_NAME.to_owned()]).map_err(failed)?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "rk maintenance");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.self_signed(&key).map_err(failed)?;
        let key = PrivateKeyDer::try_from(key.serialize_der())
            .map_err(|_| TrustError::Refused("a generated key is of no known form"))?;
        Ok(Identity { chain: vec![certificate.der().clone()], key })
    }

    /// `sha256:<hex>` of the node's own certificate.
    pub fn fingerprint(&self) -> String {
        self.chain.first().map(|der| fingerprint(der)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_self_signed_identity_is_new_each_time_and_noise_is_none() {
        let (a, b) = (Identity::self_signed().unwrap(), Identity::self_signed().unwrap());
        assert_ne!(a.fingerprint(), b.fingerprint());
        assert!(Identity::from_pem("", "").is_err());
        assert!(Identity::from_pem("-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----\n", "x").is_err());
    }
}

//! Certificates on disk: the client identity, the serving identity and the cluster's CA. They outlive reboots.

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::disk;

const CLIENT: &str = "kubelet-client.pem";
const SERVING: &str = "kubelet-serving.pem";
const CA: &str = "ca.crt";

/// A certificate store that cannot be read or written, or a certificate that is not one.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// Reading or writing failed.
    #[error("{action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The bytes are not the PEM that was expected.
    #[error("{what} is not valid PEM or X.509: {reason}")]
    Malformed {
        /// Which object.
        what: &'static str,
        /// Why it was refused.
        reason: String,
    },
}

/// A private key and the certificate chain issued for it.
#[derive(Clone)]
pub struct Identity {
    /// Certificate chain, PEM, leaf first.
    pub cert_pem: String,
    /// Private key, PKCS#8 PEM.
    pub key_pem: String,
    /// The subject's common name.
    pub common_name: String,
    /// Start of validity.
    pub not_before: Timestamp,
    /// End of validity.
    pub not_after: Timestamp,
}

impl Identity {
    /// Checks and describes a certificate chain with its key.
    pub fn new(cert_pem: String, key_pem: String) -> Result<Self, PkiError> {
        let malformed = |reason: String| PkiError::Malformed { what: "certificate", reason };
        let leaf = CertificateDer::from_pem_slice(cert_pem.as_bytes()).map_err(|e| malformed(e.to_string()))?;
        let (_, parsed) = X509Certificate::from_der(&leaf).map_err(|e| malformed(e.to_string()))?;
        let common_name =
            parsed.subject().iter_common_name().next().and_then(|cn| cn.as_str().ok()).unwrap_or_default().to_owned();
        let at = |seconds: i64| Timestamp::from_second(seconds).map_err(|e| malformed(e.to_string()));
        let (not_before, not_after) =
            (at(parsed.validity().not_before.timestamp())?, at(parsed.validity().not_after.timestamp())?);
        PrivateKeyDer::from_pem_slice(key_pem.as_bytes())
            .map_err(|e| PkiError::Malformed { what: "private key", reason: e.to_string() })?;
        Ok(Self { cert_pem, key_pem, common_name, not_before, not_after })
    }

    /// The chain in DER, leaf first.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(self.cert_pem.as_bytes()).filter_map(Result::ok).collect()
    }

    /// The key in DER.
    pub fn key(&self) -> Result<PrivateKeyDer<'static>, PkiError> {
        PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes())
            .map_err(|e| PkiError::Malformed { what: "private key", reason: e.to_string() })
    }

    /// When to ask for the next certificate: after `share` (0..1) of the lifetime.
    pub fn renew_at(&self, share: f64) -> Timestamp {
        let life = self.not_after.as_second().saturating_sub(self.not_before.as_second());
        let offset = (life as f64 * share) as i64;
        Timestamp::from_second(self.not_before.as_second().saturating_add(offset)).unwrap_or(self.not_after)
    }
}

/// The directory of certificates.
#[derive(Clone, Debug)]
pub struct Pki {
    dir: PathBuf,
}

impl Pki {
    /// Opens (and makes) the directory, private to root.
    pub fn open(dir: &Path) -> Result<Self, PkiError> {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|source| PkiError::Io {
            action: "making",
            path: dir.to_owned(),
            source,
        })?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// The stored CA and client identity, when they are this node's, unexpired and under the pinned CA.
    pub fn load_member(&self, user: &str, pin: Option<&str>) -> Result<Option<(String, Identity)>, PkiError> {
        let Some(ca) = self.read(CA)? else { return Ok(None) };
        let Some(identity) = self.load(CLIENT)? else { return Ok(None) };
        let ca_pem = String::from_utf8_lossy(&ca).into_owned();
        if let Some(pin) = pin
            && !ca_matches(&ca_pem, pin)
        {
            tracing::warn!("the stored CA is not the pinned one: joining anew");
            return Ok(None);
        }
        if identity.common_name != user || identity.not_after <= Timestamp::now() {
            tracing::warn!(stored = %identity.common_name, not_after = %identity.not_after, "the stored client certificate is not usable: joining anew");
            return Ok(None);
        }
        Ok(Some((ca_pem, identity)))
    }

    /// Keeps the CA and the client identity.
    pub fn store_member(&self, ca_pem: &str, identity: &Identity) -> Result<(), PkiError> {
        self.write(CA, ca_pem.as_bytes())?;
        self.store_client(identity)
    }

    /// Keeps a renewed client identity.
    pub fn store_client(&self, identity: &Identity) -> Result<(), PkiError> {
        self.store(CLIENT, identity)
    }

    /// The stored client identity.
    pub fn load_client(&self) -> Result<Option<Identity>, PkiError> {
        self.load(CLIENT)
    }

    /// The stored serving identity.
    pub fn load_serving(&self) -> Result<Option<Identity>, PkiError> {
        self.load(SERVING)
    }

    /// Keeps a serving identity.
    pub fn store_serving(&self, identity: &Identity) -> Result<(), PkiError> {
        self.store(SERVING, identity)
    }

    fn load(&self, name: &str) -> Result<Option<Identity>, PkiError> {
        let Some(bytes) = self.read(name)? else { return Ok(None) };
        let text = String::from_utf8_lossy(&bytes);
        // One file holds both, so that key and certificate never come from two different writes.
        let Some(split) = text.find("-----BEGIN PRIVATE KEY-----") else { return Ok(None) };
        let (cert, key) = text.split_at(split);
        match Identity::new(cert.to_owned(), key.to_owned()) {
            Ok(identity) => Ok(Some(identity)),
            Err(error) => {
                tracing::warn!(file = name, "a stored certificate is unusable and will be replaced: {error}");
                Ok(None)
            }
        }
    }

    fn store(&self, name: &str, identity: &Identity) -> Result<(), PkiError> {
        let mut text = identity.cert_pem.trim_end().to_owned();
        text.push('\n');
        text.push_str(&identity.key_pem);
        self.write(name, text.as_bytes())
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, PkiError> {
        let path = self.dir.join(name);
        disk::read_optional(&path).map_err(|source| PkiError::Io { action: "reading", path, source })
    }

    fn write(&self, name: &str, data: &[u8]) -> Result<(), PkiError> {
        let path = self.dir.join(name);
        disk::write_atomically(&path, data, 0o600).map_err(|source| PkiError::Io { action: "writing", path, source })
    }
}

/// Whether any certificate of the bundle has the pinned public key (`sha256:<hex of SubjectPublicKeyInfo>`, as kubeadm).
pub fn ca_matches(ca_pem: &str, pin: &str) -> bool {
    let Some(want) = pin.strip_prefix("sha256:") else { return false };
    CertificateDer::pem_slice_iter(ca_pem.as_bytes()).filter_map(Result::ok).any(|der| {
        X509Certificate::from_der(&der)
            .is_ok_and(|(_, cert)| hex::encode(Sha256::digest(cert.public_key().raw)).eq_ignore_ascii_case(want))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn self_signed(cn: &str) -> Identity {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, cn);
        let cert = params.self_signed(&key).unwrap();
        Identity::new(cert.pem(), key.serialize_pem()).unwrap()
    }

    fn pin(identity: &Identity) -> String {
        let der = CertificateDer::from_pem_slice(identity.cert_pem.as_bytes()).unwrap();
        let (_, cert) = X509Certificate::from_der(&der).unwrap();
        format!("sha256:{}", hex::encode(Sha256::digest(cert.public_key().raw)))
    }

    #[test]
    fn a_stored_identity_is_used_only_under_its_pin_and_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::open(dir.path()).unwrap();
        let (ca, node) = (self_signed("ca"), self_signed("system:node:a"));
        assert!(pki.load_member("system:node:a", None).unwrap().is_none());
        pki.store_member(&ca.cert_pem, &node).unwrap();
        assert!(pki.load_member("system:node:a", Some(&pin(&ca))).unwrap().is_some());
        assert!(pki.load_member("system:node:b", Some(&pin(&ca))).unwrap().is_none(), "another node's");
        assert!(pki.load_member("system:node:a", Some(&pin(&node))).unwrap().is_none(), "another CA's");
        std::fs::write(dir.path().join(CLIENT), b"torn").unwrap();
        assert!(pki.load_member("system:node:a", None).unwrap().is_none(), "a torn file is no error");
    }

    #[test]
    fn renewal_comes_at_the_asked_share_of_the_lifetime() {
        let mut identity = self_signed("x");
        identity.not_before = Timestamp::from_second(1000).unwrap();
        identity.not_after = Timestamp::from_second(2000).unwrap();
        assert_eq!(identity.renew_at(0.8).as_second(), 1800);
    }
}

//! The cluster's certificate authority, the operator's certificate, and the bootstrap token.

use crate::{Error, Result};
use rand::RngExt;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, date_time_ymd,
};
use sha2::{Digest, Sha256};

/// A certificate and its key, PEM.
#[derive(Clone)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// The private key, PKCS#8.
    pub key: String,
}

/// Everything secret that a new cluster starts with.
#[derive(Clone)]
pub struct Pki {
    /// The authority.
    pub ca: Pair,
    /// `sha256:` and the hex digest of the authority's SubjectPublicKeyInfo, by which nodes pin it.
    pub ca_hash: String,
    /// User `kubernetes-admin` in group `system:masters`.
    pub admin: Pair,
    /// Bootstrap token, `id.secret`.
    pub token: String,
}

impl Pki {
    /// Makes a new authority with all that belongs to it.
    pub fn generate() -> Result<Pki> {
        make().map_err(|e| Error::Certificate { subject: "the cluster".into(), reason: e.to_string() })
    }
}

fn make() -> Result<Pki, rcgen::Error> {
    let ca_key = KeyPair::generate()?;
    let ca_hash = format!("sha256:{}", hex::encode(Sha256::digest(ca_key.subject_public_key_info())));
    let mut params = params("kubernetes", None);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    let ca = Pair { certificate: params.self_signed(&ca_key)?.pem(), key: ca_key.serialize_pem() };
    let issuer = Issuer::new(params, ca_key);
    let admin = client(&issuer, "kubernetes-admin", "system:masters")?;
    Ok(Pki { ca, ca_hash, admin, token: token() })
}

fn client(issuer: &Issuer<'_, KeyPair>, user: &str, group: &str) -> Result<Pair, rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = params(user, Some(group));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    Ok(Pair { certificate: params.signed_by(&key, issuer)?.pem(), key: key.serialize_pem() })
}

/// Subject and a validity that does not depend on the clock of a guest being exact.
fn params(name: &str, group: Option<&str>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    if let Some(group) = group {
        params.distinguished_name.push(DnType::OrganizationName, group);
    }
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2049, 12, 31);
    params
}

fn token() -> String {
    const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut random = rand::rng();
    let mut word =
        |n: usize| -> String { (0..n).map(|_| char::from(LETTERS[random.random_range(0..LETTERS.len())])).collect() };
    let (id, secret) = (word(6), word(16));
    format!("{id}.{secret}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_cluster_has_a_pinned_authority_and_a_well_formed_token() {
        let pki = Pki::generate().expect("generate");
        assert_eq!(pki.ca_hash.len(), "sha256:".len() + 64);
        let (id, secret) = pki.token.split_once('.').expect("dot");
        assert_eq!((id.len(), secret.len()), (6, 16));
        assert!(pki.admin.certificate.contains("BEGIN CERTIFICATE") && pki.admin.key.contains("PRIVATE KEY"));
    }
}

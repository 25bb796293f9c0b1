//! Authorities, certificates and tokens of a new cluster.

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::RngExt;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SerialNumber,
};
use rk_machine_proto::{Role, SERVER_NAME};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Years that an authority lasts.
const AUTHORITY_YEARS: i16 = 10;
/// Years that the certificate of an operator or node lasts; `rkctl node certificates rotate` renews a node's.
const LEAF_YEARS: i16 = 1;

/// A certificate and its key, PEM.
#[derive(Clone, Serialize, Deserialize)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// The key.
    pub key: String,
}

/// Everything secret of a cluster, kept by the operator and apart from machine configs.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Secrets {
    /// Name of the cluster.
    pub cluster: String,
    /// Signs the API server, nodes and users of Kubernetes.
    pub cluster_authority: Pair,
    /// Signs nodes and operators of the machine API. No machine ever holds its key.
    pub machine_authority: Pair,
    /// Signs what API servers show to servers of aggregated APIs; older files have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub front_proxy_authority: Option<Pair>,
    /// Signs tokens of service accounts, PEM; older files have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_key: Option<String>,
    /// Encrypts Secrets in the store, 32 bytes in base64; older files have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secretbox_encryption_secret: Option<String>,
    /// With which nodes join, `id.secret`.
    pub bootstrap_token: String,
}

impl Secrets {
    /// Makes new ones.
    ///
    /// # Errors
    /// No randomness.
    pub fn generate(cluster: &str) -> Result<Secrets> {
        Ok(Secrets {
            cluster: cluster.to_owned(),
            cluster_authority: authority("kubernetes")?,
            machine_authority: authority(&format!("{cluster} machines"))?,
            front_proxy_authority: Some(authority("front-proxy-ca")?),
            service_account_key: Some(KeyPair::generate().context("making a key")?.serialize_pem()),
            secretbox_encryption_secret: Some(STANDARD.encode(rand::random::<[u8; 32]>())),
            bootstrap_token: token(),
        })
    }

    /// `sha256:` and hex over the public key of the cluster's authority, by which nodes pin it.
    ///
    /// # Errors
    /// The key is unreadable.
    pub fn cluster_hash(&self) -> Result<String> {
        let key =
            KeyPair::from_pem(&self.cluster_authority.key).context("reading the key of the cluster's authority")?;
        Ok(format!("sha256:{}", hex::encode(Sha256::digest(key.subject_public_key_info()))))
    }

    /// A certificate for an operator.
    ///
    /// # Errors
    /// The secrets are unreadable.
    pub fn operator(&self, name: &str, role: Role) -> Result<Pair> {
        let mut params = leaf(name, ExtendedKeyUsagePurpose::ClientAuth);
        params.distinguished_name.push(DnType::OrganizationName, role.organization());
        self.issue(params)
    }

    /// A certificate for the machine API of a node.
    ///
    /// # Errors
    /// The secrets are unreadable, or the name is none.
    pub fn node(&self, name: &str) -> Result<Pair> {
        let mut params = leaf(name, ExtendedKeyUsagePurpose::ServerAuth);
        for name in [SERVER_NAME, name] {
            params.subject_alt_names.push(rcgen::SanType::DnsName(name.try_into().context("the node's name")?));
        }
        self.issue(params)
    }

    /// Signs a node's own request, as a certificate for its machine API and nothing else.
    ///
    /// # Errors
    /// It is no request, or it lacks the name of nodes.
    pub fn sign(&self, request: &str) -> Result<String> {
        let mut request = CertificateSigningRequestParams::from_pem(request).context("reading the node's request")?;
        let names: Vec<_> = request.params.subject_alt_names.clone();
        let is_node =
            |name: &rcgen::SanType| matches!(name, rcgen::SanType::DnsName(name) if name.as_str() == SERVER_NAME);
        anyhow::ensure!(names.iter().any(is_node), "the node's request lacks the name {SERVER_NAME}");
        // Only names are taken over: what a node asks for beside them, it does not get.
        let mut params = leaf("", ExtendedKeyUsagePurpose::ServerAuth);
        params.subject_alt_names = names;
        params.distinguished_name = DistinguishedName::new();
        let name = request.params.distinguished_name.get(&DnType::CommonName).cloned();
        params.distinguished_name.push(DnType::CommonName, name.unwrap_or_else(|| "node".into()));
        request.params = params;
        Ok(request.signed_by(&self.issuer()?).context("signing the node's request")?.pem())
    }

    fn issue(&self, params: CertificateParams) -> Result<Pair> {
        let key = KeyPair::generate().context("making a key")?;
        let certificate = params.signed_by(&key, &self.issuer()?).context("signing a certificate")?.pem();
        Ok(Pair { certificate, key: key.serialize_pem() })
    }

    fn issuer(&self) -> Result<Issuer<'static, KeyPair>> {
        let key =
            KeyPair::from_pem(&self.machine_authority.key).context("reading the key of the machines' authority")?;
        Issuer::from_ca_cert_pem(&self.machine_authority.certificate, key).context("reading the machines' authority")
    }
}

fn authority(name: &str) -> Result<Pair> {
    let key = KeyPair::generate().context("making a key")?;
    let mut params = base(name, AUTHORITY_YEARS);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    let certificate = params.self_signed(&key).context("making an authority")?.pem();
    Ok(Pair { certificate, key: key.serialize_pem() })
}

fn leaf(name: &str, usage: ExtendedKeyUsagePurpose) -> CertificateParams {
    let mut params = base(name, LEAF_YEARS);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    params
}

fn base(name: &str, years: i16) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    // Machines whose clock was never set believe in an early year: only the end matters.
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let end = today.checked_add(jiff::Span::new().years(years)).unwrap_or(today);
    params.not_after =
        rcgen::date_time_ymd(i32::from(end.year()), end.month().unsigned_abs(), end.day().unsigned_abs());
    let mut serial: [u8; 16] = rand::random();
    serial[0] &= 0x7f;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params
}

fn token() -> String {
    const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut random = rand::rng();
    let mut word = |count: usize| -> String {
        let letters = (0..count).filter_map(|_| LETTERS.get(random.random_range(0..LETTERS.len())));
        letters.map(|letter| char::from(*letter)).collect()
    };
    format!("{}.{}", word(6), word(16))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_gets_no_more_than_its_names_signed() {
        let secrets = Secrets::generate("demo").unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![SERVER_NAME.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "n1");
        params.distinguished_name.push(DnType::OrganizationName, Role::Admin.organization());
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let request = params.serialize_request(&key).unwrap().pem().unwrap();
        let signed = secrets.sign(&request).unwrap();
        // What is signed has no organization: a node is no admin.
        use rustls_pki_types::pem::PemObject;
        let der = rustls_pki_types::CertificateDer::from_pem_slice(signed.as_bytes()).unwrap();
        let organization = Role::Admin.organization().as_bytes();
        assert!(!der.windows(organization.len()).any(|window| window == organization));
        let name = SERVER_NAME.as_bytes();
        assert!(der.windows(name.len()).any(|window| window == name));
        let stranger = CertificateParams::new(vec!["other".to_owned()]).unwrap().serialize_request(&key).unwrap();
        assert!(secrets.sign(&stranger.pem().unwrap()).is_err());
    }

    #[test]
    fn tokens_are_as_kubernetes_wants_them_and_hashes_as_nodes_do() {
        let secrets = Secrets::generate("demo").unwrap();
        let (id, secret) = secrets.bootstrap_token.split_once('.').unwrap();
        assert_eq!((id.len(), secret.len()), (6, 16));
        assert_eq!(secrets.cluster_hash().unwrap().len(), 71);
    }
}

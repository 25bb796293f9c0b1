//! The certificate authority: loading, making and issuing.

use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SerialNumber,
};
use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use x509_parser::certificate::X509Certificate;

use super::{Credential, PkiError, ServingNames, files, first_certificate};

/// How long an authority made here lasts, in years; kubeadm's choice.
const AUTHORITY_YEARS: i16 = 10;
/// No right clock is behind this. An authority made here is valid from then on: the clock of a machine's first start may be ahead, and
/// what the right clock says later must lie within.
const OLDEST: jiff::civil::Date = jiff::civil::date(2025, 1, 1);
/// How long a leaf certificate lasts, in years; renewed in its last thirty days.
const LEAF_YEARS: i16 = 1;

/// The cluster's certificate authority with its key.
#[derive(Clone)]
pub struct Authority {
    certificate: String,
    key: String,
    der: CertificateDer<'static>,
    path: std::path::PathBuf,
}

impl Authority {
    /// Loads `<file>.crt` and `<file>.key` from `dir`, or makes both, as the authority `name`, when neither is there.
    ///
    /// # Errors
    /// [`PkiError::Content`] when only one of the two is there or one cannot be used.
    pub(super) fn load_or_create(dir: &Path, file: &str, name: &str) -> Result<Self, PkiError> {
        let certificate_path = dir.join(format!("{file}.crt"));
        let key_path = dir.join(format!("{file}.key"));
        match (files::read(&certificate_path)?, files::read(&key_path)?) {
            (Some(certificate), Some(key)) => Self::from_pem(certificate, key, certificate_path),
            (None, None) => {
                let made = make_authority(name)?;
                files::write_private(&key_path, made.key.as_bytes())?;
                files::write_public(&certificate_path, made.certificate.as_bytes())?;
                Self::from_pem(made.certificate, made.key, certificate_path)
            }
            (Some(_), None) => {
                Err(PkiError::Content { path: key_path, what: "authority key (only its certificate is there)" })
            }
            (None, Some(_)) => {
                Err(PkiError::Content { path: certificate_path, what: "authority certificate (only its key is there)" })
            }
        }
    }

    fn from_pem(certificate: String, key: String, path: std::path::PathBuf) -> Result<Self, PkiError> {
        let content = |what| PkiError::Content { path: path.clone(), what };
        let der = first_certificate(&certificate).ok_or_else(|| content("certificate"))?;
        KeyPair::from_pem(&key)
            .map_err(|_| PkiError::Content { path: path.with_extension("key"), what: "private key" })?;
        Ok(Self { certificate, key, der, path })
    }

    /// The certificate, PEM.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// The private key, PEM; for the controller that signs certificate requests.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The certificate, DER.
    #[must_use]
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// `sha256:<hex>` over the SubjectPublicKeyInfo.
    pub(super) fn public_key_hash(&self) -> Result<String, PkiError> {
        let (_, parsed) = x509_parser::parse_x509_certificate(&self.der)
            .map_err(|_| PkiError::Content { path: self.path.clone(), what: "certificate" })?;
        Ok(format!("sha256:{}", hex::encode(Sha256::digest(parsed.public_key().raw))))
    }

    /// Whether `certificate` carries this authority's signature.
    pub(super) fn issued(&self, certificate: &X509Certificate<'_>) -> bool {
        x509_parser::parse_x509_certificate(&self.der)
            .is_ok_and(|(_, own)| certificate.verify_signature(Some(own.public_key())).is_ok())
    }

    /// Issues a leaf certificate with a fresh P-256 key.
    pub(super) fn issue(
        &self,
        user: &str,
        groups: &[&str],
        names: ServingNames,
        usage: ExtendedKeyUsagePurpose,
    ) -> Result<Credential, PkiError> {
        let make = |source| PkiError::Make { what: "certificate", source };
        let issuer_key = KeyPair::from_pem(&self.key).map_err(make)?;
        let issuer = Issuer::from_ca_cert_der(&self.der, issuer_key).map_err(make)?;
        let mut params = base_params(user, groups, LEAF_YEARS);
        params.subject_alt_names = names.into_sans().map_err(make)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(make)?;
        let certificate = params.signed_by(&key, &issuer).map_err(make)?;
        Ok(Credential { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

fn make_authority(name: &str) -> Result<Credential, PkiError> {
    let make = |source| PkiError::Make { what: "certificate authority", source };
    let mut params = base_params(name, &[], AUTHORITY_YEARS);
    let (year, month, day) = parts(OLDEST);
    params.not_before = rcgen::date_time_ymd(year, month, day);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages =
        vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment, KeyUsagePurpose::KeyCertSign];
    let key = KeyPair::generate().map_err(make)?;
    let certificate = params.self_signed(&key).map_err(make)?;
    Ok(Credential { certificate: certificate.pem(), key: key.serialize_pem() })
}

fn base_params(user: &str, groups: &[&str], years: i16) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    for group in groups {
        params.distinguished_name.push(DnType::OrganizationName, *group);
    }
    params.distinguished_name.push(DnType::CommonName, user);
    // A day of slack backwards: nodes join with clocks that are not set yet.
    let (year, month, day) = date_after(-1, 0);
    params.not_before = rcgen::date_time_ymd(year, month, day);
    let (year, month, day) = date_after(0, years);
    params.not_after = rcgen::date_time_ymd(year, month, day);
    let mut serial: [u8; 16] = rand::random();
    serial[0] &= 0x7f;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params
}

fn date_after(days: i64, years: i16) -> (i32, u8, u8) {
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date().max(OLDEST);
    let span = jiff::Span::new().days(days).years(years);
    parts(today.checked_add(span).unwrap_or(today))
}

fn parts(date: jiff::civil::Date) -> (i32, u8, u8) {
    (i32::from(date.year()), date.month().unsigned_abs(), date.day().unsigned_abs())
}

//! A summary of a certificate, for people.

use rk_machine_proto::v1;
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Most names listed of one certificate.
const MOST_NAMES: usize = 32;

/// What is reported about a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// Subject.
    pub subject: String,
    /// Issuer.
    pub issuer: String,
    /// Seconds since 1970.
    pub not_before: i64,
    /// Seconds since 1970.
    pub not_after: i64,
    /// `sha256:` and hex digits.
    pub fingerprint: String,
    /// Alternative names.
    pub names: Vec<String>,
}

impl Facts {
    /// As the API tells it.
    pub fn message(self, usage: &str) -> v1::Certificate {
        v1::Certificate {
            r#use: usage.to_owned(),
            subject: self.subject,
            issuer: self.issuer,
            not_before: self.not_before,
            not_after: self.not_after,
            fingerprint: self.fingerprint,
            names: self.names,
        }
    }
}

/// SHA-256 over the DER form, as `sha256:<hex>`.
pub fn fingerprint(der: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(der)))
}

/// Reads a certificate in DER; `None` for anything else.
pub fn facts(der: &[u8]) -> Option<Facts> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let mut names = Vec::new();
    if let Ok(Some(alternative)) = certificate.subject_alternative_name() {
        names.extend(alternative.value.general_names.iter().take(MOST_NAMES).filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(bytes) => address(bytes),
            _ => None,
        }));
    }
    Some(Facts {
        subject: certificate.subject().to_string(),
        issuer: certificate.issuer().to_string(),
        not_before: certificate.validity().not_before.timestamp(),
        not_after: certificate.validity().not_after.timestamp(),
        fingerprint: fingerprint(der),
        names,
    })
}

fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(std::net::Ipv4Addr::from(v4).to_string());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|v6| std::net::Ipv6Addr::from(v6).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_tells_its_names_and_noise_tells_nothing() {
        let made = rcgen::generate_simple_self_signed(vec!["node.example".to_owned(), "10.0.0.1".to_owned()]).unwrap();
        let told = facts(made.cert.der()).unwrap();
        assert_eq!(told.names, ["node.example", "10.0.0.1"]);
        assert!(told.not_after > told.not_before && told.fingerprint.len() == 71, "{told:?}");
        assert_eq!(facts(b"noise"), None);
        assert_eq!(facts(&[]), None);
    }
}

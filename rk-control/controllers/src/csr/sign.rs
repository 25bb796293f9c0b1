//! Issuing certificates for approved requests.

use super::request::Refusal;
use crate::context::Authority;
use rcgen::{CertificateSigningRequestParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use std::time::{Duration, SystemTime};
use x509_parser::prelude::{FromDer, X509Certificate};

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
const SHORTEST: Duration = Duration::from_secs(600);
/// Clocks of nodes may be behind ours.
const BACKDATE: Duration = Duration::from_secs(300);
/// Of a lifetime from this one on, what lies before now is a part; upstream's figure.
const LONG: Duration = Duration::from_secs(8 * 3600);

/// When a certificate ends that is to live so long: never after its authority, which signs nothing once it has ended.
fn end(lifetime: Duration, now: SystemTime, authority: SystemTime) -> Result<SystemTime, Refusal> {
    if authority <= now {
        return Err(Refusal::Signing("the signer has expired".to_owned()));
    }
    let own = if lifetime < LONG { now + lifetime } else { now + lifetime - BACKDATE };
    Ok(own.min(authority))
}

/// When the authority's own certificate ends.
fn end_of(authority: &Authority) -> Result<SystemTime, Refusal> {
    let failed = |e: &dyn std::fmt::Display| Refusal::Signing(e.to_string());
    let block = pem::parse(&authority.certificate).map_err(|e| failed(&e))?;
    let (_, certificate) = X509Certificate::from_der(block.contents()).map_err(|e| failed(&e))?;
    let seconds = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

fn usage(name: &str) -> Option<KeyUsagePurpose> {
    Some(match name {
        "digital signature" | "signing" => KeyUsagePurpose::DigitalSignature,
        "content commitment" => KeyUsagePurpose::ContentCommitment,
        "key encipherment" => KeyUsagePurpose::KeyEncipherment,
        "key agreement" => KeyUsagePurpose::KeyAgreement,
        "data encipherment" => KeyUsagePurpose::DataEncipherment,
        _ => return None,
    })
}

fn extended_usage(name: &str) -> Option<ExtendedKeyUsagePurpose> {
    Some(match name {
        "client auth" => ExtendedKeyUsagePurpose::ClientAuth,
        "server auth" => ExtendedKeyUsagePurpose::ServerAuth,
        _ => return None,
    })
}

/// Signs the request with exactly the usages of the API object; never a CA, whatever the request says. Answers PEM.
pub(super) fn sign(
    authority: &Authority,
    mut request: CertificateSigningRequestParams,
    usages: &[String],
    expiration_seconds: Option<i32>,
    now: SystemTime,
) -> Result<String, Refusal> {
    let failed = |e: rcgen::Error| Refusal::Signing(e.to_string());
    let key = KeyPair::from_pem(&authority.key).map_err(failed)?;
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate, key).map_err(failed)?;
    let asked = expiration_seconds.and_then(|s| u64::try_from(s).ok()).map(Duration::from_secs);
    let lifetime = asked.unwrap_or(YEAR).clamp(SHORTEST, YEAR);
    let params = &mut request.params;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = usages.iter().filter_map(|u| usage(u)).collect();
    params.extended_key_usages = usages.iter().filter_map(|u| extended_usage(u)).collect();
    params.use_authority_key_identifier_extension = true;
    params.not_before = (now - BACKDATE).into();
    params.not_after = end(lifetime, now, end_of(authority)?)?.into();
    request.signed_by(&issuer).map(|certificate| certificate.pem()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::super::request;
    use super::*;
    use k8s_openapi::ByteString;
    use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
    use rcgen::{BasicConstraints, CertificateParams, DnType};

    #[test]
    fn a_signed_certificate_has_the_asked_subject_and_lifetime_and_is_no_ca() {
        let ca_key = KeyPair::generate().expect("key");
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = ca.self_signed(&ca_key).expect("ca");
        let authority = Authority { certificate: ca.pem(), key: ca_key.serialize_pem() };

        let mut wanted = CertificateParams::default();
        wanted.distinguished_name.push(DnType::OrganizationName, "system:nodes");
        wanted.distinguished_name.push(DnType::CommonName, "system:node:n1");
        wanted.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = wanted.serialize_request(&KeyPair::generate().expect("key")).expect("request").pem().expect("pem");
        let usages = vec!["client auth".to_owned(), "digital signature".to_owned()];
        let csr = CertificateSigningRequest {
            spec: CertificateSigningRequestSpec {
                request: ByteString(pem.into_bytes()),
                usages: Some(usages.clone()),
                ..Default::default()
            },
            ..Default::default()
        };
        let (request, params) = request::parse(&csr).expect("parses");
        assert_eq!(request.node(), Some("n1"));
        let now = SystemTime::now();
        let signed = sign(&authority, params, &usages, Some(3600), now).expect("signs");

        let der = pem::parse(signed).expect("pem");
        let (_, certificate) = X509Certificate::from_der(der.contents()).expect("certificate");
        assert!(!certificate.is_ca());
        assert_eq!(
            certificate.subject().iter_common_name().next().and_then(|n| n.as_str().ok()),
            Some("system:node:n1")
        );
        let eku = certificate.extended_key_usage().expect("readable").expect("present").value;
        assert!(eku.client_auth && !eku.server_auth);
        let lifetime = certificate.validity().not_after.timestamp() - certificate.validity().not_before.timestamp();
        assert_eq!(lifetime, 3600 + 300);
        assert!(end_of(&authority).expect("an end") > now + YEAR);
    }

    #[test]
    fn a_certificate_lives_as_long_as_it_was_to_and_not_beyond_its_authority() {
        let now = SystemTime::UNIX_EPOCH + YEAR;
        let hour = Duration::from_secs(3600);
        for (lifetime, authority, left) in [
            (hour * 2, YEAR * 9, hour * 2),
            (hour * 8, YEAR * 9, hour * 8 - BACKDATE),
            (YEAR, YEAR * 9, YEAR - BACKDATE),
            (YEAR, hour * 3, hour * 3),
            (hour * 2, hour, hour),
        ] {
            assert_eq!(end(lifetime, now, now + authority), Ok(now + left), "{lifetime:?} {authority:?}");
        }
        assert!(end(hour, now, now).is_err() && end(hour, now, now - hour).is_err(), "it has ended");
    }
}

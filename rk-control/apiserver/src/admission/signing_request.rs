//! CertificateSigningRequests: what is to be signed is a request in PKCS #10 that its own key has signed (upstream's `validateCSR`).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pem::Pem;
use ring::signature::{
    RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY, UnparsedPublicKey,
};
use rk_api::meta;
use rk_api::resources::Resource;
use rk_api::status::{FieldErrors, Path};
use serde_json::Value;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::error::X509Error;
use x509_parser::prelude::FromDer;

/// The field that is judged.
const FIELD: &str = "spec.request";
/// Keys on elliptic curves.
const EC_KEY: &str = "1.2.840.10045.2.1";
/// What signatures on elliptic curves begin with.
const ECDSA: &str = "1.2.840.10045.4.";
const RSA_SHA256: &str = "1.2.840.113549.1.1.11";
const RSA_SHA512: &str = "1.2.840.113549.1.1.13";

/// Adds what is wrong with the request of a new CertificateSigningRequest; later nobody can change it.
pub(crate) fn check(resource: &Resource, new: &Value, errors: &mut FieldErrors) {
    let known = ("certificates.k8s.io", "CertificateSigningRequest");
    // What no block of PEM holds was told already.
    if (&*resource.gvk.group, &*resource.gvk.kind) != known || errors.0.iter().any(|error| error.path == FIELD) {
        return;
    }
    let written = meta::text(new, &["spec", "request"]);
    let pem = STANDARD.decode(written).unwrap_or_default();
    if let Err(why) = verify(&pem) {
        errors.invalid(&Path::new(FIELD), written, why);
    }
}

/// Whether a request is one, and signed by the key that it is for; the words are those of Go's library.
fn verify(text: &[u8]) -> Result<(), &'static str> {
    let block = block(text).filter(|block| block.tag() == "CERTIFICATE REQUEST");
    let block = block.ok_or("PEM block type must be CERTIFICATE REQUEST")?;
    let read = X509CertificationRequest::from_der(block.contents());
    let (rest, request) = read.map_err(|_| "asn1: structure error: not a certificate request")?;
    if !rest.is_empty() {
        return Err("asn1: syntax error: trailing data");
    }
    let algorithm = request.signature_algorithm.algorithm.to_id_string();
    let Err(error) = request.verify_signature() else { return Ok(()) };
    if is_beyond_us(&request, &error, &algorithm) || is_signed_by_short_key(&request, &algorithm) {
        return Ok(());
    }
    Err(match error {
        X509Error::SignatureUnsupportedAlgorithm => "x509: cannot verify signature: algorithm unimplemented",
        _ if algorithm.starts_with("1.2.840.10045.") => "x509: ECDSA verification failure",
        _ if algorithm == "1.3.101.112" => "x509: Ed25519 verification failure",
        _ => "crypto/rsa: verification error",
    })
}

/// The block of a text.
fn block(text: &[u8]) -> Option<Pem> {
    let text = String::from_utf8_lossy(text);
    let first = text.lines().skip_while(|line| !line.starts_with("-----BEGIN ")).nth(1);
    if first.is_some_and(|line| line.contains(':')) {
        return pem::parse(text.as_bytes()).ok();
    }
    // The parser would take all that stands above an empty line for headers.
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    pem::parse(lines.join("\n")).ok()
}

/// Whether a signature is of a curve or a digest that Go knows and our library does not: who signs the certificate verifies it.
fn is_beyond_us(request: &X509CertificationRequest<'_>, error: &X509Error, algorithm: &str) -> bool {
    let key = request.certification_request_info.subject_pki.algorithm.algorithm.to_id_string();
    matches!(error, X509Error::SignatureUnsupportedAlgorithm) && algorithm.starts_with(ECDSA) && key == EC_KEY
}

/// Whether a request was signed by an RSA key that is shorter than what is verified elsewhere, of 1024 bits at least.
fn is_signed_by_short_key(request: &X509CertificationRequest<'_>, algorithm: &str) -> bool {
    let way = match algorithm {
        RSA_SHA256 => &RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
        RSA_SHA512 => &RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
        _ => return false,
    };
    let info = &request.certification_request_info;
    let key = UnparsedPublicKey::new(way, &info.subject_pki.subject_public_key.data);
    key.verify(info.raw, &request.signature_value.data).is_ok()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    /// A key on P-521, which signed with SHA-512.
    const P521: &str = "\
-----BEGIN CERTIFICATE REQUEST-----
MIIBTjCBsQIBADAMMQowCAYDVQQDDAFhMIGbMBAGByqGSM49AgEGBSuBBAAjA4GG
AAQBQWkLE9wdCTDHvO8duKKtzEhO3i/UZ4gxnZI74VWaXp1yO6vvVJ9dwZeGXuRH
P4GLIP4xCLYImIBfPEz4TqD0bsMAS4FnUq5sBGRvV+GP2BZotFXBwC0tF4uGYO0i
mSHjuYGZbTWruQ/Fx7nJ7D2tVydKj75z0IgvTrRIqbdhHlVfndWgADAKBggqhkjO
PQQDBAOBiwAwgYcCQgDaBqdEOPX4yIm1oGjagHUs2axASQw5+liPmEv5oMMMAaHd
KgvyXoBhOCq8uUoqUFxlSXHpIhqlvtSPS41KAREMPQJBbCLMilvaDE8UZOxpcTHb
68YqqFvYaHVv+X3GwHWW/p9w6pKzzKChhg2bNvalPQcYATcG6AUsG1EGTKT+u81n
7AA=
-----END CERTIFICATE REQUEST-----
";
    /// A key of 1024 bits, which signed with SHA-256.
    const SHORT: &str = "\
-----BEGIN CERTIFICATE REQUEST-----
MIIBSzCBtQIBADAMMQowCAYDVQQDDAFhMIGfMA0GCSqGSIb3DQEBAQUAA4GNADCB
iQKBgQCzjUYlrh04qyCL230SzJFnQP6QX5LI/Rw91ItzgYJRR7njZroBLJGtyS7Y
uj1wnZANVWOgNlTS9qJRkn/XXCWISilpgLKcHG5A87UpxesutZ1pu6D+Bt2+bfFA
8DS4QFo/Vm7Pzx9EaMzXmyUYHlqARo9anac4xMrC+UiPKvnHWwIDAQABoAAwDQYJ
KoZIhvcNAQELBQADgYEAiBr0MSWohQy7c2LsHVwtAxSjq1vy9G86TTBLz0yF2aKK
jB7kLbMrzpCj/g3k1a6SHHyqfwroeWmpEjM8Td6LnAYdlFsL3nN/0WTkU1jFdPHK
8tpt818LZDekCd4I9h7RmC1Hfdl77MwKm9pTT1lV5car71zRh61AAQpl7ylgi7o=
-----END CERTIFICATE REQUEST-----
";

    fn made() -> String {
        let key = KeyPair::generate().unwrap();
        CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap()
    }

    /// The same block with other bytes.
    fn altered(text: &str, change: impl FnOnce(&mut Vec<u8>)) -> String {
        let block = pem::parse(text).unwrap();
        let mut bytes = block.contents().to_vec();
        change(&mut bytes);
        pem::encode(&pem::Pem::new("CERTIFICATE REQUEST", bytes))
    }

    #[test]
    fn a_request_that_its_key_signed_is_one() {
        for text in [
            made(),
            made().replace("-----END", "\n-----END"),
            made().replace("REQUEST-----\n", "REQUEST-----\n\n"),
            made().replacen("REQUEST-----\n", "REQUEST-----\na: b\n\n", 1),
            P521.to_owned(),
            SHORT.to_owned(),
        ] {
            assert_eq!(verify(text.as_bytes()), Ok(()), "{text}");
        }
    }

    #[test]
    fn other_bytes_are_no_request() {
        let last = |bytes: &mut Vec<u8>| {
            if let Some(last) = bytes.last_mut() {
                *last ^= 1;
            }
        };
        for (text, why) in [
            (String::new(), "PEM block type must be CERTIFICATE REQUEST"),
            (made().replace("CERTIFICATE REQUEST", "CERTIFICATE"), "PEM block type must be CERTIFICATE REQUEST"),
            (altered(&made(), |bytes| bytes.truncate(9)), "asn1: structure error: not a certificate request"),
            (altered(&made(), |bytes| bytes.push(0)), "asn1: syntax error: trailing data"),
            (altered(&made(), last), "x509: ECDSA verification failure"),
            (altered(SHORT, last), "crypto/rsa: verification error"),
        ] {
            assert_eq!(verify(text.as_bytes()), Err(why), "{text}");
        }
    }
}

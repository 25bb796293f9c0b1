//! CertificateSigningRequests: what is to be signed is a request in PKCS #10 that its own key has signed (upstream's `validateCSR`).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rk_api::meta;
use rk_api::resources::Resource;
use rk_api::status::{FieldErrors, Path};
use serde_json::Value;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::error::X509Error;
use x509_parser::prelude::FromDer;

/// The field that is judged.
const FIELD: &str = "spec.request";

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
    let block = pem::parse(text).ok().filter(|block| block.tag() == "CERTIFICATE REQUEST");
    let block = block.ok_or("PEM block type must be CERTIFICATE REQUEST")?;
    let read = X509CertificationRequest::from_der(block.contents());
    let (rest, request) = read.map_err(|_| "asn1: structure error: not a certificate request")?;
    if !rest.is_empty() {
        return Err("asn1: syntax error: trailing data");
    }
    let algorithm = request.signature_algorithm.algorithm.to_id_string();
    request.verify_signature().map_err(|error| match error {
        X509Error::SignatureUnsupportedAlgorithm => "x509: cannot verify signature: algorithm unimplemented",
        _ if algorithm.starts_with("1.2.840.10045.") => "x509: ECDSA verification failure",
        _ if algorithm == "1.3.101.112" => "x509: Ed25519 verification failure",
        _ => "crypto/rsa: verification error",
    })
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn made() -> String {
        let key = KeyPair::generate().unwrap();
        CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap()
    }

    /// The same block with other bytes.
    fn altered(change: impl FnOnce(&mut Vec<u8>)) -> String {
        let block = pem::parse(made()).unwrap();
        let mut bytes = block.contents().to_vec();
        change(&mut bytes);
        pem::encode(&pem::Pem::new("CERTIFICATE REQUEST", bytes))
    }

    #[test]
    fn a_request_that_its_key_signed_is_one() {
        assert_eq!(verify(made().as_bytes()), Ok(()));
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
            (altered(|bytes| bytes.truncate(9)), "asn1: structure error: not a certificate request"),
            (altered(|bytes| bytes.push(0)), "asn1: syntax error: trailing data"),
            (altered(last), "x509: ECDSA verification failure"),
        ] {
            assert_eq!(verify(text.as_bytes()), Err(why), "{text}");
        }
    }
}

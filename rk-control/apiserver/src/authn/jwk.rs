//! Public keys that verify tokens, and their form for others (RFC 7517, 7518).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as URL;
use ring::signature::{ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::{PublicKey as Parsed, RSAPublicKey};
use x509_parser::x509::SubjectPublicKeyInfo;

use super::jwt::{JwtError, SigningKey};

/// Longest token that is looked at, in bytes. Bound tokens are about 1 KiB; groups and audiences make them longer.
const TOKEN_LIMIT: usize = 16 * 1024;
/// An uncompressed point of P-256: 0x04, x, y.
const POINT: usize = 65;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ec,
    Rsa,
}

/// A key that verifies what its private half signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    kind: Kind,
    /// A point, or a PKCS#1 `RSAPublicKey`.
    bytes: Vec<u8>,
    id: String,
}

impl PublicKey {
    /// From an uncompressed point of P-256.
    pub fn ec(point: &[u8]) -> Option<Self> {
        (point.len() == POINT && point.first() == Some(&4)).then(|| Self::new(Kind::Ec, point))
    }

    /// From a PKCS#1 `RSAPublicKey`.
    pub fn rsa(der: &[u8]) -> Option<Self> {
        RSAPublicKey::from_der(der).is_ok().then(|| Self::new(Kind::Rsa, der))
    }

    fn new(kind: Kind, bytes: &[u8]) -> Self {
        Self { kind, bytes: bytes.to_vec(), id: URL.encode(Sha256::digest(bytes)) }
    }

    /// Every key of a PEM text, public or private.
    ///
    /// # Errors
    /// [`JwtError::Public`] when there is none, or one that cannot be used.
    pub fn all_from_pem(text: &str) -> Result<Vec<Self>, JwtError> {
        let mut keys = Vec::new();
        for block in pem::parse_many(text).map_err(|_| JwtError::Public)? {
            let key = match block.tag() {
                "PUBLIC KEY" => Self::from_info(block.contents()),
                "RSA PUBLIC KEY" => Self::rsa(block.contents()),
                tag if tag.ends_with("PRIVATE KEY") => Some(SigningKey::from_der(block.contents())?.public().clone()),
                // Parameters of a curve stand beside keys that openssl writes.
                _ => continue,
            };
            keys.push(key.ok_or(JwtError::Public)?);
        }
        if keys.is_empty() { Err(JwtError::Public) } else { Ok(keys) }
    }

    fn from_info(der: &[u8]) -> Option<Self> {
        let (_, info) = SubjectPublicKeyInfo::from_der(der).ok()?;
        let bytes = &info.subject_public_key.data;
        match info.parsed().ok()? {
            Parsed::EC(_) => Self::ec(bytes),
            Parsed::RSA(_) => Self::rsa(bytes),
            _ => None,
        }
    }

    /// The name of the signature's algorithm.
    pub fn algorithm(&self) -> &'static str {
        match self.kind {
            Kind::Ec => "ES256",
            Kind::Rsa => "RS256",
        }
    }

    /// The name by which tokens and other servers know the key.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The claims of a token that the private half signed.
    ///
    /// # Errors
    /// [`JwtError::Malformed`] or [`JwtError::Signature`]; expiry and audience are the caller's to judge.
    pub fn verify(&self, token: &str) -> Result<Value, JwtError> {
        if token.len() > TOKEN_LIMIT {
            return Err(JwtError::Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(JwtError::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(JwtError::Malformed)?;
        let header = parse(header)?;
        if header.get("alg").and_then(Value::as_str) != Some(self.algorithm()) {
            return Err(JwtError::Signature);
        }
        let signature = URL.decode(signature).map_err(|_| JwtError::Malformed)?;
        match self.kind {
            Kind::Ec => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.bytes).verify(signed.as_bytes(), &signature)
            }
            Kind::Rsa => {
                UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.bytes).verify(signed.as_bytes(), &signature)
            }
        }
        .map_err(|_| JwtError::Signature)?;
        parse(claims)
    }

    /// As a JSON Web Key.
    #[must_use]
    pub fn to_jwk(&self) -> Value {
        let mut key = json!({"use": "sig", "kid": self.id, "alg": self.algorithm()});
        match self.kind {
            Kind::Ec => {
                let (x, y) = self.bytes.get(1..).unwrap_or_default().split_at((POINT - 1) / 2);
                key["kty"] = json!("EC");
                key["crv"] = json!("P-256");
                (key["x"], key["y"]) = (json!(URL.encode(x)), json!(URL.encode(y)));
            }
            Kind::Rsa => {
                key["kty"] = json!("RSA");
                if let Ok((_, rsa)) = RSAPublicKey::from_der(&self.bytes) {
                    (key["n"], key["e"]) = (json!(number(rsa.modulus)), json!(number(rsa.exponent)));
                }
            }
        }
        key
    }
}

/// A positive number, without the zero that DER puts before a set highest bit.
fn number(bytes: &[u8]) -> String {
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    URL.encode(bytes.get(start..).unwrap_or_default())
}

fn parse(part: &str) -> Result<Value, JwtError> {
    let bytes = URL.decode(part).map_err(|_| JwtError::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| JwtError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A public key of 2048 bits, made for this test; nobody has its private half any more.
    const RSA: &str = include_str!("testdata/rsa.pub");

    #[test]
    fn both_halves_of_a_key_are_the_same_verifier() {
        let pair = rcgen::KeyPair::generate().unwrap();
        let (private, public) = (pair.serialize_pem(), pair.public_key_pem());
        let keys = PublicKey::all_from_pem(&format!("{private}{public}")).unwrap();
        assert_eq!(keys.len(), 2);
        assert_eq!(keys[0], keys[1]);
        let token = SigningKey::from_pem(&private).unwrap().sign(&json!({"sub": "a"})).unwrap();
        assert_eq!(keys[1].verify(&token).unwrap(), json!({"sub": "a"}));
    }

    #[test]
    fn keys_of_both_sorts_are_told_and_others_refused() {
        let rsa = PublicKey::all_from_pem(RSA).unwrap()[0].to_jwk();
        assert_eq!((&rsa["kty"], &rsa["alg"], &rsa["e"]), (&json!("RSA"), &json!("RS256"), &json!("AQAB")));
        assert_eq!(rsa["n"].as_str().unwrap().len(), 342, "256 bytes, no zero before them");
        for text in ["", "nonsense", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"] {
            assert!(PublicKey::all_from_pem(text).is_err(), "{text:?}");
        }
    }
}

//! JSON Web Tokens signed by this cluster (RFC 7515, 7518): ES256 and RS256, nothing else.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as URL;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Longest token that is looked at, in bytes. Bound tokens are about 1 KiB; groups and audiences make them longer.
const TOKEN_LIMIT: usize = 16 * 1024;

/// Why a key or a token is refused. Nothing in here is a secret.
#[derive(Debug, thiserror::Error)]
pub enum JwtError {
    /// The signing key cannot be used.
    #[error("the service account key is neither an ECDSA P-256 nor an RSA private key in PEM")]
    Key,
    /// Signing failed.
    #[error("signing failed")]
    Sign,
    /// The token is not a JWT.
    #[error("the token is not a JSON Web Token")]
    Malformed,
    /// No key of ours made the signature.
    #[error("the token's signature is not by a key of this cluster")]
    Signature,
}

enum Secret {
    Ec(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

/// One signing key with its public half.
pub struct SigningKey {
    secret: Secret,
    id: String,
    random: SystemRandom,
}

impl SigningKey {
    /// Reads a private key: PKCS#8, or PKCS#1 for RSA.
    ///
    /// # Errors
    /// [`JwtError::Key`] for anything else.
    pub fn from_pem(text: &str) -> Result<Self, JwtError> {
        let block = pem::parse_many(text)
            .map_err(|_| JwtError::Key)?
            .into_iter()
            .find(|block| block.tag().ends_with("PRIVATE KEY"))
            .ok_or(JwtError::Key)?;
        let random = SystemRandom::new();
        let der = block.contents();
        let secret = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, &random)
            .map(Secret::Ec)
            .or_else(|_| RsaKeyPair::from_pkcs8(der).map(Secret::Rsa))
            .or_else(|_| RsaKeyPair::from_der(der).map(Secret::Rsa))
            .map_err(|_| JwtError::Key)?;
        let public = match &secret {
            Secret::Ec(key) => key.public_key().as_ref().to_vec(),
            Secret::Rsa(key) => key.public_key().as_ref().to_vec(),
        };
        Ok(Self { secret, id: URL.encode(Sha256::digest(public)), random })
    }

    /// The name of the signature's algorithm.
    pub fn algorithm(&self) -> &'static str {
        match self.secret {
            Secret::Ec(_) => "ES256",
            Secret::Rsa(_) => "RS256",
        }
    }

    /// Signs claims into a compact token.
    ///
    /// # Errors
    /// [`JwtError::Sign`] when the crypto library refuses.
    pub fn sign(&self, claims: &Value) -> Result<String, JwtError> {
        let header = json!({"alg": self.algorithm(), "kid": self.id});
        let signed = format!("{}.{}", URL.encode(header.to_string()), URL.encode(claims.to_string()));
        let signature = match &self.secret {
            Secret::Ec(key) => key.sign(&self.random, signed.as_bytes()).map_err(|_| JwtError::Sign)?.as_ref().to_vec(),
            Secret::Rsa(key) => {
                let mut out = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &self.random, signed.as_bytes(), &mut out).map_err(|_| JwtError::Sign)?;
                out
            }
        };
        Ok(format!("{signed}.{}", URL.encode(signature)))
    }

    /// The claims of a token that this key signed.
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
        match &self.secret {
            Secret::Ec(key) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.public_key().as_ref())
                .verify(signed.as_bytes(), &signature),
            Secret::Rsa(key) => UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public_key().as_ref())
                .verify(signed.as_bytes(), &signature),
        }
        .map_err(|_| JwtError::Signature)?;
        parse(claims)
    }

    /// The public half as a JSON Web Key (RFC 7517).
    #[must_use]
    pub fn to_jwk(&self) -> Value {
        match &self.secret {
            Secret::Ec(key) => {
                // An uncompressed point: 0x04, x, y.
                let point = key.public_key().as_ref();
                let (x, y) = point.get(1..).unwrap_or_default().split_at(point.len().saturating_sub(1) / 2);
                json!({"use": "sig", "kty": "EC", "kid": self.id, "alg": "ES256", "crv": "P-256",
                    "x": URL.encode(x), "y": URL.encode(y)})
            }
            Secret::Rsa(key) => {
                let public = ring::rsa::PublicKeyComponents::<Vec<u8>>::from(key.public());
                json!({"use": "sig", "kty": "RSA", "kid": self.id, "alg": "RS256",
                    "n": URL.encode(public.n), "e": URL.encode(public.e)})
            }
        }
    }
}

fn parse(part: &str) -> Result<Value, JwtError> {
    let bytes = URL.decode(part).map_err(|_| JwtError::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| JwtError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SigningKey {
        SigningKey::from_pem(&rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap()
    }

    #[test]
    fn a_token_verifies_with_its_own_key_only() {
        let (own, other) = (key(), key());
        let token = own.sign(&json!({"sub": "a"})).unwrap();
        assert_eq!(own.verify(&token).unwrap(), json!({"sub": "a"}));
        assert!(matches!(other.verify(&token), Err(JwtError::Signature)));
    }

    #[test]
    fn a_changed_claim_breaks_the_signature() {
        let own = key();
        let token = own.sign(&json!({"sub": "a"})).unwrap();
        let mut parts: Vec<&str> = token.split('.').collect();
        let forged = URL.encode(json!({"sub": "b"}).to_string());
        parts[1] = &forged;
        assert!(matches!(own.verify(&parts.join(".")), Err(JwtError::Signature)));
    }

    #[test]
    fn an_unsigned_token_is_refused() {
        let none = format!("{}.{}.", URL.encode(r#"{"alg":"none"}"#), URL.encode("{}"));
        assert!(key().verify(&none).is_err());
        assert!(matches!(key().verify("nonsense"), Err(JwtError::Malformed)));
    }
}

//! JSON Web Tokens signed by this cluster (RFC 7515, 7518): ES256 and RS256, nothing else.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as URL;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};

use super::jwk::PublicKey;

/// Why a key or a token is refused. Nothing in here is a secret.
#[derive(Debug, thiserror::Error)]
pub enum JwtError {
    /// The signing key cannot be used.
    #[error("the service account key is neither an ECDSA P-256 nor an RSA private key in PEM")]
    Key,
    /// A file has no key that could verify.
    #[error("there is no ECDSA P-256 or RSA key, public or private, in the PEM text")]
    Public,
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
    public: PublicKey,
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
        Self::from_der(block.contents())
    }

    /// Reads what is inside the PEM block of a private key.
    ///
    /// # Errors
    /// [`JwtError::Key`].
    pub fn from_der(der: &[u8]) -> Result<Self, JwtError> {
        let random = SystemRandom::new();
        let secret = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, &random)
            .map(Secret::Ec)
            .or_else(|_| RsaKeyPair::from_pkcs8(der).map(Secret::Rsa))
            .or_else(|_| RsaKeyPair::from_der(der).map(Secret::Rsa))
            .map_err(|_| JwtError::Key)?;
        let public = match &secret {
            Secret::Ec(key) => PublicKey::ec(key.public_key().as_ref()),
            Secret::Rsa(key) => PublicKey::rsa(key.public_key().as_ref()),
        };
        Ok(Self { secret, public: public.ok_or(JwtError::Key)?, random })
    }

    /// The half that verifies.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs claims into a compact token.
    ///
    /// # Errors
    /// [`JwtError::Sign`] when the crypto library refuses.
    pub fn sign(&self, claims: &Value) -> Result<String, JwtError> {
        let header = json!({"alg": self.public.algorithm(), "kid": self.public.id()});
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
        assert_eq!(own.public().verify(&token).unwrap(), json!({"sub": "a"}));
        assert!(matches!(other.public().verify(&token), Err(JwtError::Signature)));
    }

    #[test]
    fn a_changed_claim_breaks_the_signature() {
        let own = key();
        let token = own.sign(&json!({"sub": "a"})).unwrap();
        let mut parts: Vec<&str> = token.split('.').collect();
        let forged = URL.encode(json!({"sub": "b"}).to_string());
        parts[1] = &forged;
        assert!(matches!(own.public().verify(&parts.join(".")), Err(JwtError::Signature)));
    }

    #[test]
    fn an_unsigned_token_is_refused() {
        let none = format!("{}.{}.", URL.encode(r#"{"alg":"none"}"#), URL.encode("{}"));
        assert!(key().public().verify(&none).is_err());
        assert!(matches!(key().public().verify("nonsense"), Err(JwtError::Malformed)));
    }
}

//! Who vouches for an image: a signature over what comes, by a key that the config names.

use ring::signature::{ED25519, UnparsedPublicKey};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject;
use tonic::Status;

/// What an Ed25519 key looks like in DER (RFC 8410): all but the key itself.
const ED25519_SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Checks the signature of an upgrade against any of these keys; without keys anything goes, for the caller is an admin.
///
/// # Errors
/// There are keys, and none of them signed this.
pub fn check(keys: &[String], sizes: (u64, u64), sha256: &str, signature: &[u8]) -> Result<(), Status> {
    check_statement(keys, &rk_slots::statement(sizes.0, sizes.1, sha256), signature)
}

/// As [`check`], of any statement.
pub fn check_statement(keys: &[String], statement: &str, signature: &[u8]) -> Result<(), Status> {
    if keys.is_empty() {
        return Ok(());
    }
    if signature.is_empty() {
        let text = "this machine takes signed images alone (upgrade.keys of its config); sign it with rkctl image sign";
        return Err(Status::permission_denied(text));
    }
    let signed = |pem: &String| {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).ok()?;
        let key = der.strip_prefix(ED25519_SPKI.as_slice())?;
        UnparsedPublicKey::new(&ED25519, key).verify(statement.as_bytes(), signature).ok()
    };
    if keys.iter().any(|key| signed(key).is_some()) {
        return Ok(());
    }
    Err(Status::permission_denied("no key in upgrade.keys of the machine's config signed this image"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{KeyPair, PKCS_ED25519, SigningKey};

    #[test]
    fn only_a_key_that_the_config_names_vouches_and_for_just_these_bytes() {
        let (ours, other) =
            (KeyPair::generate_for(&PKCS_ED25519).unwrap(), KeyPair::generate_for(&PKCS_ED25519).unwrap());
        let signature = ours.sign(rk_slots::statement(9, 4, "ab").as_bytes()).unwrap();
        let keys = vec!["torn".to_owned(), other.public_key_pem(), ours.public_key_pem()];
        check(&keys, (9, 4), "ab", &signature).unwrap();
        check(&[], (9, 4), "ab", &[]).unwrap();
        for (keys, sizes, sha256, signature) in [
            (&keys[..2], (9, 4), "ab", signature.as_slice()),
            (&keys[..], (9, 5), "ab", signature.as_slice()),
            (&keys[..], (9, 4), "ac", signature.as_slice()),
            (&keys[..], (9, 4), "ab", b"".as_slice()),
            (&keys[..], (9, 4), "ab", b"noise".as_slice()),
        ] {
            assert_eq!(check(keys, sizes, sha256, signature).unwrap_err().code(), tonic::Code::PermissionDenied);
        }
    }
}

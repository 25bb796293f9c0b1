//! What a key does to one value. The formats are upstream's, byte for byte.

use aes::cipher::consts::U16;
use aes::cipher::{BlockDecrypt, BlockEncrypt, BlockSizeUser, KeyInit};
use aes::{Aes128, Aes192, Aes256, Block};
use crypto_secretbox::{AeadInPlace, Key, Nonce, Tag, XSalsa20Poly1305};
use ring::aead::{self, AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};

/// Bytes of a block of AES.
const BLOCK: usize = 16;
/// Bytes of a nonce of XSalsa20.
const BOX_NONCE: usize = 24;
/// Bytes of a tag of Poly1305.
const BOX_TAG: usize = 16;

// Upstream's words.
const SHORT: &str = "the stored data was shorter than the required size";
const FORGED: &str = "cipher: message authentication failed";
const BOX_FORGED: &str = "output array was not large enough for encryption";
const UNEVEN: &str = "the stored data is not a multiple of the block size";
const UNPADDED: &str = "invalid PKCS7 data (empty or not padded)";
const MISPADDED: &str = "invalid padding on input";
const NO_RANDOMNESS: &str = "unable to read sufficient random bytes";
const REFUSED: &str = "the value could not be encrypted";

/// One key, ready for use.
pub(super) enum Cipher {
    /// AES-GCM: nonce of 12 bytes, text, tag. The path of the value is authenticated with it.
    Gcm(Box<LessSafeKey>),
    /// XSalsa20 with Poly1305, as NaCl's `secretbox`: nonce of 24 bytes, tag, text. Knows no associated data.
    Secretbox(XSalsa20Poly1305),
    /// AES-CBC with PKCS#7 padding: vector of 16 bytes, text. Authenticates nothing.
    Cbc(Box<dyn Blocks>),
}

impl Cipher {
    /// AES-GCM by a key of 16 or 32 bytes; nothing for another.
    pub(super) fn gcm(key: &[u8]) -> Option<Self> {
        let algorithm = match key.len() {
            16 => &AES_128_GCM,
            32 => &AES_256_GCM,
            _ => return None,
        };
        let key = UnboundKey::new(algorithm, key).ok()?;
        Some(Self::Gcm(Box::new(LessSafeKey::new(key))))
    }

    /// `secretbox` by a key of 32 bytes; nothing for another.
    pub(super) fn secretbox(key: &[u8]) -> Option<Self> {
        let key: [u8; 32] = key.try_into().ok()?;
        Some(Self::Secretbox(XSalsa20Poly1305::new(&Key::from(key))))
    }

    /// AES-CBC by a key of 16, 24 or 32 bytes; nothing for another.
    pub(super) fn cbc(key: &[u8]) -> Option<Self> {
        let blocks: Box<dyn Blocks> = match key.len() {
            16 => Box::new(Aes128::new_from_slice(key).ok()?),
            24 => Box::new(Aes192::new_from_slice(key).ok()?),
            32 => Box::new(Aes256::new_from_slice(key).ok()?),
            _ => return None,
        };
        Some(Self::Cbc(blocks))
    }

    /// Appends what is stored for `plain` at `path`.
    pub(super) fn seal(&self, plain: &[u8], path: &str, out: &mut Vec<u8>) -> Result<(), &'static str> {
        match self {
            Self::Gcm(key) => seal_gcm(key, plain, path, out),
            Self::Secretbox(key) => seal_box(key, plain, out),
            Self::Cbc(blocks) => seal_cbc(&**blocks, plain, out),
        }
    }

    /// The plain text of what is stored at `path`.
    pub(super) fn open(&self, stored: &[u8], path: &str) -> Result<Vec<u8>, &'static str> {
        match self {
            Self::Gcm(key) => open_gcm(key, stored, path),
            Self::Secretbox(key) => open_box(key, stored),
            Self::Cbc(blocks) => open_cbc(&**blocks, stored),
        }
    }
}

fn random<const N: usize>() -> Result<[u8; N], &'static str> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| NO_RANDOMNESS)?;
    Ok(bytes)
}

fn seal_gcm(key: &LessSafeKey, plain: &[u8], path: &str, out: &mut Vec<u8>) -> Result<(), &'static str> {
    let nonce = random::<NONCE_LEN>()?;
    out.extend_from_slice(&nonce);
    let begun = out.len();
    out.extend_from_slice(plain);
    let nonce = aead::Nonce::assume_unique_for_key(nonce);
    let tag =
        key.seal_in_place_separate_tag(nonce, Aad::from(path.as_bytes()), &mut out[begun..]).map_err(|_| REFUSED)?;
    out.extend_from_slice(tag.as_ref());
    Ok(())
}

fn open_gcm(key: &LessSafeKey, stored: &[u8], path: &str) -> Result<Vec<u8>, &'static str> {
    let (nonce, sealed) = stored.split_first_chunk::<NONCE_LEN>().ok_or(SHORT)?;
    let nonce = aead::Nonce::assume_unique_for_key(*nonce);
    let mut out = sealed.to_vec();
    let length = key.open_in_place(nonce, Aad::from(path.as_bytes()), &mut out).map_err(|_| FORGED)?.len();
    out.truncate(length);
    Ok(out)
}

fn seal_box(key: &XSalsa20Poly1305, plain: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
    let nonce = random::<BOX_NONCE>()?;
    out.extend_from_slice(&nonce);
    let begun = out.len();
    out.extend_from_slice(&[0; BOX_TAG]);
    out.extend_from_slice(plain);
    let (place, text) = out[begun..].split_at_mut(BOX_TAG);
    let tag = key.encrypt_in_place_detached(&Nonce::from(nonce), b"", text).map_err(|_| REFUSED)?;
    place.copy_from_slice(tag.as_slice());
    Ok(())
}

fn open_box(key: &XSalsa20Poly1305, stored: &[u8]) -> Result<Vec<u8>, &'static str> {
    let (nonce, sealed) = stored.split_first_chunk::<BOX_NONCE>().ok_or(SHORT)?;
    let (tag, text) = sealed.split_first_chunk::<BOX_TAG>().ok_or(SHORT)?;
    let mut out = text.to_vec();
    key.decrypt_in_place_detached(&Nonce::from(*nonce), b"", &mut out, &Tag::from(*tag)).map_err(|_| BOX_FORGED)?;
    Ok(out)
}

/// AES with a key of any length.
pub(super) trait Blocks: Send + Sync {
    /// Encrypts one block in place.
    fn encrypt(&self, block: &mut [u8]);
    /// Decrypts one block in place.
    fn decrypt(&self, block: &mut [u8]);
}

impl<C: BlockEncrypt + BlockDecrypt + BlockSizeUser<BlockSize = U16> + Send + Sync> Blocks for C {
    fn encrypt(&self, block: &mut [u8]) {
        self.encrypt_block(Block::from_mut_slice(block));
    }

    fn decrypt(&self, block: &mut [u8]) {
        self.decrypt_block(Block::from_mut_slice(block));
    }
}

fn seal_cbc(blocks: &dyn Blocks, plain: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
    let mut before = random::<BLOCK>()?;
    out.extend_from_slice(&before);
    let begun = out.len();
    out.extend_from_slice(plain);
    let padding = BLOCK - plain.len() % BLOCK;
    out.resize(out.len() + padding, padding as u8);
    for block in out[begun..].chunks_exact_mut(BLOCK) {
        mix(block, &before);
        blocks.encrypt(block);
        before.copy_from_slice(block);
    }
    Ok(())
}

fn open_cbc(blocks: &dyn Blocks, stored: &[u8]) -> Result<Vec<u8>, &'static str> {
    let (vector, sealed) = stored.split_first_chunk::<BLOCK>().ok_or(SHORT)?;
    let ciphered = sealed.chunks_exact(BLOCK);
    if !ciphered.remainder().is_empty() {
        return Err(UNEVEN);
    }
    let (mut out, mut before) = (sealed.to_vec(), *vector);
    for (block, own) in out.chunks_exact_mut(BLOCK).zip(ciphered) {
        blocks.decrypt(block);
        mix(block, &before);
        before.copy_from_slice(own);
    }
    let padding = usize::from(*out.last().ok_or(UNPADDED)?);
    if padding == 0 || padding > out.len() {
        return Err(UNPADDED);
    }
    let length = out.len() - padding;
    if out[length..].iter().any(|byte| usize::from(*byte) != padding) {
        return Err(MISPADDED);
    }
    out.truncate(length);
    Ok(out)
}

fn mix(block: &mut [u8], other: &[u8; BLOCK]) {
    for (byte, other) in block.iter_mut().zip(other) {
        *byte ^= other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "/registry/core/secrets/n/a";

    type Make = fn(&[u8]) -> Option<Cipher>;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn each_cipher_gives_back_what_it_took_and_never_writes_the_same_twice() {
        let table: [(Make, &[usize]); 3] =
            [(Cipher::gcm, &[16, 32]), (Cipher::secretbox, &[32]), (Cipher::cbc, &[16, 24, 32])];
        for (make, sizes) in table {
            for size in 0..40 {
                let cipher = make(&vec![7; size]);
                assert_eq!(cipher.is_some(), sizes.contains(&size), "{size}");
                let Some(cipher) = cipher else { continue };
                for text in [&b""[..], b"x", &[5; 15], &[5; 16], &[5; 17], &[9; 5000]] {
                    let (mut one, mut two) = (Vec::new(), Vec::new());
                    cipher.seal(text, PATH, &mut one).unwrap();
                    cipher.seal(text, PATH, &mut two).unwrap();
                    assert_ne!(one, two);
                    assert_eq!(cipher.open(&one, PATH).unwrap(), text);
                }
            }
        }
    }

    #[test]
    fn what_was_tampered_with_cut_or_written_with_another_key_is_refused() {
        let table: [(Make, &str); 2] = [(Cipher::gcm, FORGED), (Cipher::secretbox, BOX_FORGED)];
        for (make, why) in table {
            let (cipher, other) = (make(&[1; 32]).unwrap(), make(&[2; 32]).unwrap());
            let mut stored = Vec::new();
            cipher.seal(b"a secret", PATH, &mut stored).unwrap();
            assert_eq!(other.open(&stored, PATH), Err(why));
            for at in 0..stored.len() {
                let mut forged = stored.clone();
                forged[at] ^= 1;
                assert_eq!(cipher.open(&forged, PATH), Err(why), "byte {at}");
                assert!(cipher.open(&stored[..at], PATH).is_err(), "the first {at}");
            }
            assert_eq!(cipher.open(&stored[..5], PATH), Err(SHORT));
        }
        let cbc = Cipher::cbc(&[1; 32]).unwrap();
        let mut stored = Vec::new();
        cbc.seal(b"a secret", PATH, &mut stored).unwrap();
        for (cut, why) in [(3, SHORT), (16, UNPADDED), (17, UNEVEN)] {
            assert_eq!(cbc.open(&stored[..cut], PATH), Err(why));
        }
        // The vector is mixed into the padding: another last byte of it is another padding.
        stored[15] ^= 8 ^ 5;
        assert_eq!(cbc.open(&stored, PATH), Err(MISPADDED));
        stored[15] ^= 5;
        assert_eq!(cbc.open(&stored, PATH), Err(UNPADDED));
    }

    #[test]
    fn what_was_moved_to_another_path_is_refused_where_the_path_is_authenticated() {
        let cipher = Cipher::gcm(&[1; 16]).unwrap();
        let mut stored = Vec::new();
        cipher.seal(b"a secret", PATH, &mut stored).unwrap();
        assert_eq!(cipher.open(&stored, "/registry/core/secrets/n/b"), Err(FORGED));
        assert_eq!(cipher.open(&stored, PATH).unwrap(), b"a secret");
    }

    /// AES-CBC: NIST SP 800-38A, F.2.1 and F.2.3, first block. `secretbox`: the example of NaCl's own tests.
    #[test]
    fn published_vectors_open() {
        let text = hex("6bc1bee22e409f96e93d7e117393172a");
        for (key, sealed) in [
            ("2b7e151628aed2a6abf7158809cf4f3c", "7649abac8119b246cee98e9b12e9197d"),
            ("8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b", "4f021db243bc633d7178183a9fa071e8"),
        ] {
            let Some(Cipher::Cbc(blocks)) = Cipher::cbc(&hex(key)) else { panic!("{key}") };
            let mut block = text.clone();
            mix(&mut block, &hex("000102030405060708090a0b0c0d0e0f").try_into().unwrap());
            blocks.encrypt(&mut block);
            assert_eq!(block, hex(sealed));
        }
        let key = hex("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389");
        let nonce = hex("69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37");
        let sealed = hex(concat!(
            "f3ffc7703f9400e52a7dfb4b3d3305d98e993b9f48681273c29650ba32fc76ce48332ea7164d96a4476fb8c531a1186a",
            "c0dfc17c98dce87b4da7f011ec48c97271d2c20f9b928fe2270d6fb863d51738b48eeee314a7cc8ab932164548e526ae",
            "90224368517acfeabd6bb3732bc0e9da99832b61ca01b6de56244a9e88d5f9b37973f622a43d14a6599b1f654cb45a74",
            "e355a5",
        ));
        let text = hex(concat!(
            "be075fc53c81f2d5cf141316ebeb0c7b5228c52a4c62cbd44b66849b64244ffce5ecbaaf33bd751a1ac728d45e6c6129",
            "6cdc3c01233561f41db66cce314adb310e3be8250c46f06dceea3a7fa1348057e2f6556ad6b1318a024a838f21af1fde",
            "048977eb48f59ffd4924ca1c60902e52f0a089bc76897040e082f937763848645e0705",
        ));
        let cipher = Cipher::secretbox(&key).unwrap();
        assert_eq!(cipher.open(&[nonce, sealed].concat(), PATH).unwrap(), text);
    }
}

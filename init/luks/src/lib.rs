//! LUKS2 headers: what says how a disk is encrypted, and keeps its key for those who know a secret.
//!
//! The format is that of the LUKS2 on-disk format specification (version 1.1.x), so that `cryptsetup` opens what a node made and a
//! node opens what `cryptsetup` made. Of its choices these are known: `aes-xts-plain64`; key derivation by PBKDF2 (SHA-256 or
//! SHA-512), Argon2i, Argon2id; anti-forensic splitting with the same hashes. Others are errors that say so.
//!
//! No IO: bytes are asked for through [`Source`] and what is to be written comes out as [`Write`]s, in the order in which they must
//! reach the disk. Headers are bytes from outside: sizes, counts and the memory of key derivation are bounded.

mod binary;
mod error;
mod header;
mod kdf;
mod keyslot;
mod metadata;
pub mod outside;
mod split;
mod text;
mod xts;

pub use error::LuksError;
pub use header::{Header, Opened, Source, Write};
pub use kdf::Cost;
pub use metadata::{Segment, Token};

/// A key, or a secret that leads to one: forgotten when it is dropped, and never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(zeroize::Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes bytes.
    pub fn new(bytes: Vec<u8>) -> Secret {
        Secret(zeroize::Zeroizing::new(bytes))
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<secret>")
    }
}

/// Fills bytes with noise that nobody can guess.
pub type Random<'a> = &'a mut dyn FnMut(&mut [u8]) -> std::io::Result<()>;

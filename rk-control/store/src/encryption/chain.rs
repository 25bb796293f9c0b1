//! The providers of one resource: the first writes, all of them read.

use std::sync::Arc;

use bytes::Bytes;

use super::ENCRYPTED;
use super::cipher::Cipher;

// Upstream's words.
const NO_PREFIX: &str = "no matching prefix found";
const ENCRYPTED_FOR_IDENTITY: &str = "identity transformer tried to read encrypted data";

/// What a provider's values begin with, and how keys are told apart that it does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Values as they are.
    Identity,
    AesGcm,
    AesCbc,
    Secretbox,
}

impl Kind {
    fn prefix(self) -> &'static str {
        match self {
            Self::Identity => "",
            Self::AesGcm => "k8s:enc:aesgcm:v1:",
            Self::AesCbc => "k8s:enc:aescbc:v1:",
            Self::Secretbox => "k8s:enc:secretbox:v1:",
        }
    }

    fn no_key(self) -> &'static str {
        match self {
            Self::Secretbox => "no matching key was found for the provided Secretbox transformer",
            _ => "no matching key was found for the provided AES transformer",
        }
    }
}

/// One provider with its keys; none for [`Kind::Identity`].
pub(super) struct Provider {
    pub(super) kind: Kind,
    /// Name and cipher; the first one writes.
    pub(super) keys: Vec<(String, Cipher)>,
}

/// The providers that a resource is stored by.
#[derive(Default)]
pub(super) struct Chain(Vec<Arc<Provider>>);

impl Chain {
    /// Adds providers after those that are there.
    pub(super) fn extend(&mut self, providers: &[Arc<Provider>]) {
        self.0.extend_from_slice(providers);
    }

    /// What is stored for a value.
    pub(super) fn seal(&self, path: &str, plain: Bytes) -> Result<Bytes, String> {
        let Some((kind, (name, cipher))) = self.0.first().and_then(|first| Some((first.kind, first.keys.first()?)))
        else {
            return Ok(plain);
        };
        // Enough for every cipher's nonce, tag and padding.
        let mut out = Vec::with_capacity(plain.len() + name.len() + 80);
        out.extend_from_slice(kind.prefix().as_bytes());
        out.extend_from_slice(name.as_bytes());
        out.push(b':');
        cipher.seal(&plain, path, &mut out)?;
        Ok(out.into())
    }

    /// A value, and whether it would be stored otherwise now.
    pub(super) fn open(&self, path: &str, stored: &Bytes) -> Result<(Bytes, bool), String> {
        let mut errors = Vec::new();
        for (at, provider) in self.0.iter().enumerate() {
            match provider.open(path, stored) {
                None => {}
                Some(Ok((plain, older))) => return Ok((plain, older || at > 0)),
                Some(Err(error)) => errors.push(error),
            }
        }
        Err(together(errors).unwrap_or_else(|| NO_PREFIX.to_owned()))
    }
}

impl Provider {
    /// The value and whether another key than the first one wrote it; nothing when it is none of this provider's.
    fn open(&self, path: &str, stored: &Bytes) -> Option<Result<(Bytes, bool), String>> {
        if self.kind == Kind::Identity {
            return as_it_is(stored).ok().map(|plain| Ok((plain, false)));
        }
        let rest = stored.strip_prefix(self.kind.prefix().as_bytes())?;
        let mut errors = Vec::new();
        for (at, (name, cipher)) in self.keys.iter().enumerate() {
            let sealed = rest.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b":"));
            match sealed.map(|sealed| cipher.open(sealed, path)) {
                None => {}
                Some(Ok(plain)) => return Some(Ok((plain.into(), at > 0))),
                Some(Err(error)) => errors.push(error.to_owned()),
            }
        }
        Some(Err(together(errors).unwrap_or_else(|| self.kind.no_key().to_owned())))
    }
}

/// A value that is stored in plain.
pub(super) fn as_it_is(stored: &Bytes) -> Result<Bytes, String> {
    if stored.starts_with(ENCRYPTED) {
        return Err(ENCRYPTED_FOR_IDENTITY.to_owned());
    }
    Ok(stored.clone())
}

/// Several errors as upstream tells them: one by itself, more in brackets, none twice.
pub(super) fn together(errors: Vec<String>) -> Option<String> {
    let mut told: Vec<String> = Vec::new();
    for error in errors {
        if !told.contains(&error) {
            told.push(error);
        }
    }
    match told.len() {
        0 => None,
        1 => told.pop(),
        _ => Some(format!("[{}]", told.join(", "))),
    }
}

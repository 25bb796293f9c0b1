//! From a secret to the key of a keyslot.

use crate::text::{Bytes, bytes};
use crate::{LuksError, Random, Secret};
use argon2::{Algorithm, Argon2, Params, Version};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256, Sha512};

/// Memory that key derivation may ask for, in KiB: what `cryptsetup` asks for at most unless it is told otherwise.
const MOST_MEMORY: u32 = 1 << 20;
/// Rounds that are still waited for.
const MOST_TIME: u32 = 1 << 16;
const MOST_ITERATIONS: u32 = 100_000_000;
const SALT: usize = 32;

/// A hash function of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha256,
    Sha512,
}

impl Hash {
    pub(crate) fn named(name: &str) -> Result<Hash, LuksError> {
        match name {
            "sha256" => Ok(Hash::Sha256),
            "sha512" => Ok(Hash::Sha512),
            other => Err(LuksError::Unknown(format!("hash {other}"))),
        }
    }

    pub(crate) fn size(self) -> usize {
        match self {
            Hash::Sha256 => 32,
            Hash::Sha512 => 64,
        }
    }

    pub(crate) fn digest(self, parts: &[&[u8]]) -> Vec<u8> {
        fn of<D: Digest>(parts: &[&[u8]]) -> Vec<u8> {
            parts.iter().fold(D::new(), |digest, part| digest.chain_update(part)).finalize().to_vec()
        }
        match self {
            Hash::Sha256 => of::<Sha256>(parts),
            Hash::Sha512 => of::<Sha512>(parts),
        }
    }

    /// PBKDF2 with HMAC of this hash.
    pub(crate) fn stretch(self, secret: &[u8], salt: &[u8], iterations: u32, size: usize) -> Result<Secret, LuksError> {
        if !(1..=MOST_ITERATIONS).contains(&iterations) {
            return Err(LuksError::Unknown(format!("{iterations} iterations of PBKDF2")));
        }
        let mut key = vec![0; size];
        match self {
            Hash::Sha256 => pbkdf2::pbkdf2_hmac::<Sha256>(secret, salt, iterations, &mut key),
            Hash::Sha512 => pbkdf2::pbkdf2_hmac::<Sha512>(secret, salt, iterations, &mut key),
        }
        Ok(Secret::new(key))
    }
}

/// How hard a secret is to guess, and so how dear each guess must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    /// 32 random bytes: no guess will ever hit.
    Random,
    /// Something that people remember: Argon2id with 64 MiB, which the smallest nodes can spare at boot.
    Passphrase,
}

/// How a keyslot derives its key, as the JSON says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum Kdf {
    Pbkdf2 { hash: String, iterations: u32, salt: Bytes },
    Argon2i { time: u32, memory: u32, cpus: u32, salt: Bytes },
    Argon2id { time: u32, memory: u32, cpus: u32, salt: Bytes },
}

impl Kdf {
    pub(crate) fn new(cost: Cost, random: Random<'_>) -> std::io::Result<Kdf> {
        let mut salt = vec![0; SALT];
        random(&mut salt)?;
        let salt = bytes(salt);
        Ok(match cost {
            Cost::Random => Kdf::Pbkdf2 { hash: "sha256".to_owned(), iterations: 1000, salt },
            Cost::Passphrase => Kdf::Argon2id { time: 4, memory: 64 << 10, cpus: 1, salt },
        })
    }

    pub(crate) fn derive(&self, secret: &[u8], size: usize) -> Result<Secret, LuksError> {
        match self {
            Kdf::Pbkdf2 { hash, iterations, salt } => Hash::named(hash)?.stretch(secret, &salt.0, *iterations, size),
            Kdf::Argon2i { time, memory, cpus, salt } => {
                argon(Algorithm::Argon2i, (*time, *memory, *cpus), secret, &salt.0, size)
            }
            Kdf::Argon2id { time, memory, cpus, salt } => {
                argon(Algorithm::Argon2id, (*time, *memory, *cpus), secret, &salt.0, size)
            }
        }
    }
}

fn argon(kind: Algorithm, cost: (u32, u32, u32), secret: &[u8], salt: &[u8], size: usize) -> Result<Secret, LuksError> {
    let (time, memory, cpus) = cost;
    let unknown = || LuksError::Unknown(format!("Argon2 with time {time}, memory {memory} KiB, {cpus} lanes"));
    if memory > MOST_MEMORY || time > MOST_TIME {
        return Err(unknown());
    }
    let params = Params::new(memory, time, cpus, Some(size)).map_err(|_| unknown())?;
    let mut key = vec![0; size];
    let argon = Argon2::new(kind, Version::V0x13, params);
    argon.hash_password_into(secret, salt, &mut key).map_err(|_| unknown())?;
    Ok(Secret::new(key))
}

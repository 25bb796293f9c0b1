//! Anti-forensic splitting: a key spread over so many stripes that losing a part of them loses it.

use crate::kdf::Hash;
use crate::{Random, Secret};

/// Stripes of a key; the format's one value.
pub(crate) const STRIPES: usize = 4000;

/// Spreads `key` over [`STRIPES`] stripes of its size.
pub(crate) fn split(key: &[u8], hash: Hash, random: Random<'_>) -> std::io::Result<Secret> {
    let mut stripes = vec![0; key.len() * STRIPES];
    let mut state = vec![0; key.len()];
    let noise = key.len() * (STRIPES - 1);
    random(stripes.get_mut(..noise).unwrap_or_default())?;
    for stripe in stripes.get(..noise).unwrap_or_default().chunks_exact(key.len().max(1)) {
        mix(&mut state, stripe, hash);
    }
    for ((last, key), state) in stripes.iter_mut().skip(noise).zip(key).zip(&state) {
        *last = key ^ state;
    }
    Ok(Secret::new(stripes))
}

/// Brings it together again.
pub(crate) fn merge(stripes: &[u8], size: usize, hash: Hash) -> Secret {
    let mut state = vec![0; size];
    let mut all = stripes.chunks_exact(size.max(1));
    let last = all.next_back().unwrap_or_default();
    for stripe in all {
        mix(&mut state, stripe, hash);
    }
    Secret::new(last.iter().zip(&state).map(|(last, state)| last ^ state).collect())
}

fn mix(state: &mut [u8], stripe: &[u8], hash: Hash) {
    for (state, stripe) in state.iter_mut().zip(stripe) {
        *state ^= stripe;
    }
    // Diffusion: each piece of a digest's size is replaced by the digest of its number and itself.
    for (number, piece) in state.chunks_mut(hash.size()).enumerate() {
        let number = u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes();
        let digest = hash.digest(&[&number, &*piece]);
        for (to, from) in piece.iter_mut().zip(digest) {
            *to = from;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_split_merges_and_every_stripe_counts() {
        let key: Vec<u8> = (0..64).collect();
        let mut seed = 1u8;
        let mut noise = |bytes: &mut [u8]| {
            for byte in bytes {
                seed = seed.wrapping_mul(37).wrapping_add(11);
                *byte = seed;
            }
            Ok(())
        };
        for hash in [Hash::Sha256, Hash::Sha512] {
            let stripes = split(&key, hash, &mut noise).unwrap();
            assert_eq!(merge(stripes.bytes(), 64, hash).bytes(), key);
            for at in [0, 64 * 2000 + 5, 64 * STRIPES - 1] {
                let mut torn = stripes.bytes().to_vec();
                torn[at] ^= 1;
                assert_ne!(merge(&torn, 64, hash).bytes(), key, "{at}");
            }
        }
    }
}

//! AES-XTS with `plain64` tweaks over sectors of 512 bytes: how the areas of keyslots are encrypted.

use crate::LuksError;
use aes::cipher::consts::U16;
use aes::cipher::{BlockDecrypt, BlockEncrypt, BlockSizeUser, KeyInit};
use aes::{Aes128, Aes256};

const SECTOR: usize = 512;
const BLOCK: usize = 16;

/// Which way.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Encrypt,
    Decrypt,
}

/// Transforms whole sectors in place; the first one has number 0.
pub(crate) fn transform(key: &[u8], way: Way, bytes: &mut [u8]) -> Result<(), LuksError> {
    let (data, tweak) = key.split_at(key.len() / 2);
    let unknown = || LuksError::Unknown(format!("a key of {} bits", key.len() * 8));
    match data.len() {
        16 => sectors::<Aes128>(data, tweak, way, bytes).ok_or_else(unknown),
        32 => sectors::<Aes256>(data, tweak, way, bytes).ok_or_else(unknown),
        _ => Err(unknown()),
    }
}

fn sectors<C: KeyInit + BlockEncrypt + BlockDecrypt + BlockSizeUser<BlockSize = U16>>(
    data: &[u8],
    tweak: &[u8],
    way: Way,
    bytes: &mut [u8],
) -> Option<()> {
    let (data, tweaks) = (C::new_from_slice(data).ok()?, C::new_from_slice(tweak).ok()?);
    for (number, sector) in bytes.chunks_exact_mut(SECTOR).enumerate() {
        let mut tweak = [0; BLOCK];
        tweak.get_mut(..8)?.copy_from_slice(&u64::try_from(number).ok()?.to_le_bytes());
        tweaks.encrypt_block((&mut tweak).into());
        let mut tweak = u128::from_le_bytes(tweak);
        for block in sector.chunks_exact_mut(BLOCK) {
            let mut value: [u8; BLOCK] = (u128::from_le_bytes(block.try_into().ok()?) ^ tweak).to_le_bytes();
            match way {
                Way::Encrypt => data.encrypt_block((&mut value).into()),
                Way::Decrypt => data.decrypt_block((&mut value).into()),
            }
            block.copy_from_slice(&(u128::from_le_bytes(value) ^ tweak).to_le_bytes());
            // Times x in GF(2^128).
            let carry = tweak >> 127;
            tweak = (tweak << 1) ^ (carry * 0x87);
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_vector_of_a_whole_sector_holds() {
        // IEEE 1619-2007, vector 10: AES-256, sector 0xff; moved here by encrypting 256 sectors and looking at the last one.
        let key = hex::decode(concat!(
            "2718281828459045235360287471352662497757247093699959574966967627",
            "3141592653589793238462643383279502884197169399375105820974944592"
        ))
        .unwrap();
        let mut bytes: Vec<u8> = (0..256 * SECTOR).map(|n| (n % 256) as u8).collect();
        let plain = bytes.clone();
        transform(&key, Way::Encrypt, &mut bytes).unwrap();
        let last = &bytes[255 * SECTOR..];
        assert_eq!(hex::encode(&last[..32]), "1c3b3a102f770386e4836c99e370cf9bea00803f5e482357a4ae12d414a3e63b");
        transform(&key, Way::Decrypt, &mut bytes).unwrap();
        assert_eq!(bytes, plain);
        assert!(transform(&key[..20], Way::Encrypt, &mut bytes).is_err());
    }
}

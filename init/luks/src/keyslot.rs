//! A keyslot: the volume key, encrypted by a key that a secret leads to.

use crate::error::odd;
use crate::kdf::{Cost, Hash, Kdf};
use crate::split::{STRIPES, merge, split};
use crate::text::Number;
use crate::xts::{Way, transform};
use crate::{LuksError, Random, Secret};
use serde::{Deserialize, Serialize};

/// The one cipher that is known, of keyslots and of data.
pub(crate) const CIPHER: &str = "aes-xts-plain64";
/// Largest key: two of AES-256.
const MOST_KEY: u32 = 64;
const ALIGN: u64 = 4096;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Keyslot {
    #[serde(rename = "type")]
    kind: String,
    key_size: u32,
    af: Splitter,
    area: Area,
    kdf: Kdf,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Splitter {
    #[serde(rename = "type")]
    kind: String,
    stripes: u32,
    hash: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Area {
    #[serde(rename = "type")]
    kind: String,
    offset: Number,
    size: Number,
    encryption: String,
    key_size: u32,
}

/// Bytes of an area on the disk that holds a key of `size` bytes.
pub(crate) fn room(size: usize) -> u64 {
    (size as u64 * STRIPES as u64).next_multiple_of(ALIGN)
}

impl Keyslot {
    /// A new one at `offset` for `key`; answers what goes into its area.
    pub(crate) fn make(
        offset: u64,
        key: &Secret,
        secret: &[u8],
        cost: Cost,
        random: Random<'_>,
    ) -> Result<(Keyslot, Vec<u8>), LuksError> {
        let size = key.bytes().len();
        let kdf = Kdf::new(cost, random)?;
        let wrapping = kdf.derive(secret, size)?;
        let mut area = split(key.bytes(), Hash::Sha256, random)?.bytes().to_vec();
        area.resize(usize::try_from(room(size)).unwrap_or(0), 0);
        transform(wrapping.bytes(), Way::Encrypt, &mut area)?;
        let key_size = u32::try_from(size).unwrap_or(0);
        let text = str::to_owned;
        let keyslot = Keyslot {
            kind: text("luks2"),
            key_size,
            af: Splitter { kind: text("luks1"), stripes: STRIPES as u32, hash: text("sha256") },
            area: Area {
                kind: text("raw"),
                offset: Number(offset),
                size: Number(area.len() as u64),
                encryption: text(CIPHER),
                key_size,
            },
            kdf,
        };
        Ok((keyslot, area))
    }

    /// Where its area lies.
    pub(crate) fn place(&self) -> (u64, u64) {
        (self.area.offset.0, self.area.size.0)
    }

    /// The key in it, if this is its secret; `read` fetches the area. Whether it is right must be checked by its digest.
    pub(crate) fn open(
        &self,
        secret: &[u8],
        read: impl Fn(u64, usize) -> std::io::Result<Vec<u8>>,
    ) -> Result<Secret, LuksError> {
        let known = self.kind == "luks2" && self.af.kind == "luks1" && self.area.kind == "raw";
        if !known || self.area.encryption != CIPHER {
            return Err(LuksError::Unknown(format!("a keyslot of {} by {}", self.kind, self.area.encryption)));
        }
        let sizes = [self.key_size, self.area.key_size];
        if self.af.stripes as usize != STRIPES || sizes.iter().any(|size| !(32..=MOST_KEY).contains(size)) {
            return Err(odd("the sizes of a keyslot"));
        }
        let key_size = self.key_size as usize;
        let size = (key_size * STRIPES).next_multiple_of(512);
        if (size as u64) > self.area.size.0 {
            return Err(odd("the area of a keyslot is too small"));
        }
        let wrapping = self.kdf.derive(secret, self.area.key_size as usize)?;
        let mut area = read(self.area.offset.0, size)?;
        transform(wrapping.bytes(), Way::Decrypt, &mut area)?;
        let stripes = area.get(..key_size * STRIPES).ok_or_else(|| odd("the area of a keyslot is cut off"))?;
        Ok(merge(stripes, key_size, Hash::named(&self.af.hash)?))
    }
}

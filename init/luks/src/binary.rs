//! The binary part of a header: 4096 bytes, big-endian, with a checksum over itself and the JSON behind it.

use crate::Random;
use sha2::{Digest, Sha256};

/// Bytes before the JSON.
pub(crate) const BINARY: usize = 4096;
/// Bytes of binary part and JSON that a header of ours has.
pub(crate) const SIZE: usize = 16 << 10;
/// Sizes that the format allows; the second copy begins where the first one ends.
pub(crate) const SIZES: [u64; 9] =
    [0x4000, 0x8000, 0x10000, 0x20000, 0x40000, 0x80000, 0x10_0000, 0x20_0000, 0x40_0000];

const FIRST: &[u8; 6] = b"LUKS\xba\xbe";
const SECOND: &[u8; 6] = b"SKUL\xba\xbe";
const CHECKSUM: std::ops::Range<usize> = 448..512;

/// The fields of the binary header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Binary {
    /// Of binary part and JSON.
    pub(crate) size: u64,
    /// Grows with every change.
    pub(crate) sequence: u64,
    pub(crate) label: String,
    pub(crate) uuid: String,
    pub(crate) subsystem: String,
}

impl Binary {
    /// Header and JSON as they go on the disk, for the copy at `offset`; `None` when the JSON is too long.
    pub(crate) fn encode(&self, json: &str, offset: u64, random: Random<'_>) -> std::io::Result<Option<Vec<u8>>> {
        let mut bytes = vec![0; usize::try_from(self.size).unwrap_or(SIZE)];
        let mut salt = [0; 64];
        random(&mut salt)?;
        let magic = if offset == 0 { FIRST } else { SECOND };
        let fields: [(usize, &[u8]); 11] = [
            (0, magic),
            (6, &2u16.to_be_bytes()),
            (8, &self.size.to_be_bytes()),
            (16, &self.sequence.to_be_bytes()),
            (24, bounded(&self.label, 47)),
            (72, b"sha256"),
            (104, &salt),
            (168, bounded(&self.uuid, 39)),
            (208, bounded(&self.subsystem, 47)),
            (256, &offset.to_be_bytes()),
            (BINARY, json.as_bytes()),
        ];
        // The JSON ends with a zero.
        if json.len() >= bytes.len().saturating_sub(BINARY) {
            return Ok(None);
        }
        for (at, field) in fields {
            if let Some(room) = bytes.get_mut(at..at + field.len()) {
                room.copy_from_slice(field);
            }
        }
        let sum = Sha256::digest(&bytes);
        if let Some(room) = bytes.get_mut(CHECKSUM.start..CHECKSUM.start + sum.len()) {
            room.copy_from_slice(&sum);
        }
        Ok(Some(bytes))
    }

    /// The size that a copy at `offset` claims, from its binary part; `None` when there is no copy.
    pub(crate) fn size_of(binary: &[u8], offset: u64) -> Option<u64> {
        let magic = if offset == 0 { FIRST } else { SECOND };
        (binary.get(..6)? == magic && binary.get(6..8)? == [0, 2]).then_some(())?;
        let size = number(binary, 8)?;
        (SIZES.contains(&size) && number(binary, 256)? == offset).then_some(size)
    }

    /// Reads a whole copy; `None` when its checksum is another.
    pub(crate) fn decode(bytes: &[u8], offset: u64) -> Option<(Binary, String)> {
        let size = Binary::size_of(bytes, offset)?;
        (bytes.len() as u64 == size && text(bytes.get(72..104)?) == "sha256").then_some(())?;
        let mut blank = bytes.to_vec();
        blank.get_mut(CHECKSUM)?.fill(0);
        let sum = Sha256::digest(&blank);
        (bytes.get(CHECKSUM)?.starts_with(&sum)).then_some(())?;
        let binary = Binary {
            size,
            sequence: number(bytes, 16)?,
            label: text(bytes.get(24..72)?),
            uuid: text(bytes.get(168..208)?),
            subsystem: text(bytes.get(208..256)?),
        };
        Some((binary, text(bytes.get(BINARY..)?)))
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(end).into_owned()
}

fn bounded(text: &str, most: usize) -> &[u8] {
    text.as_bytes().get(..text.len().min(most)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binary() -> Binary {
        let text = str::to_owned;
        Binary { size: SIZE as u64, sequence: 7, label: text("RK-DATA"), uuid: text("u"), subsystem: text("rk") }
    }

    #[test]
    fn both_copies_read_back_as_what_was_written() {
        for offset in [0, SIZE as u64] {
            let bytes = binary().encode("{}", offset, &mut |_| Ok(())).unwrap().unwrap();
            assert_eq!(bytes.len(), SIZE);
            assert_eq!(Binary::decode(&bytes, offset), Some((binary(), "{}".to_owned())));
            assert_eq!(Binary::decode(&bytes, 4096), None, "a copy knows its place");
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_noticed() {
        let bytes = binary().encode("{\"a\":1}", 0, &mut |_| Ok(())).unwrap().unwrap();
        for at in [0, 7, 17, 30, 200, 448, 4097, SIZE - 1] {
            let mut torn = bytes.clone();
            torn[at] ^= 1;
            assert_eq!(Binary::decode(&torn, 0), None, "{at}");
        }
        for size in [0, 5, 300, 4096, SIZE - 1] {
            assert_eq!(Binary::decode(&bytes[..size], 0), None, "{size}");
        }
    }

    #[test]
    fn a_text_that_is_too_long_is_refused() {
        let long = "x".repeat(SIZE - BINARY);
        assert!(binary().encode(&long, 0, &mut |_| Ok(())).unwrap().is_none());
        assert!(binary().encode(&long[1..], 0, &mut |_| Ok(())).unwrap().is_some());
    }
}

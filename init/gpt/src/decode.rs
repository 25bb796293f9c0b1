//! Bytes of a disk as a table.

use crate::table::{Guid, Partition, Table};
use crate::{ENTRIES, ENTRY, crc32};
use std::fmt;

/// Why a disk's start holds no table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeError {
    /// Too few bytes were given.
    Short,
    /// No signature: another table, or none.
    Foreign,
    /// A revision or entry size that nobody writes.
    Unsupported,
    /// The header's checksum is wrong.
    TornHeader,
    /// The entries' checksum is wrong.
    TornEntries,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DecodeError::Short => "the partition table is cut short",
            DecodeError::Foreign => "there is no GUID partition table",
            DecodeError::Unsupported => "the GUID partition table has an unusual shape",
            DecodeError::TornHeader => "the partition table's header has a wrong checksum",
            DecodeError::TornEntries => "the partition table's entries have a wrong checksum",
        })
    }
}

impl std::error::Error for DecodeError {}

impl Table {
    /// How many bytes of a disk's start [`Table::decode`] wants.
    pub const fn decode_bytes(sector: u64) -> u64 {
        2 * sector + (ENTRIES * ENTRY as u64).next_multiple_of(sector)
    }

    /// Reads the primary table from the start of a disk with sectors of `sector` bytes.
    ///
    /// # Errors
    /// The bytes hold no sound table of at most [`ENTRIES`] entries.
    pub fn decode(start: &[u8], sector: u64) -> Result<Table, DecodeError> {
        let at = usize::try_from(sector).map_err(|_| DecodeError::Unsupported)?;
        let header = start.get(at..).and_then(|rest| rest.get(..at)).ok_or(DecodeError::Short)?;
        if header.get(..8) != Some(b"EFI PART".as_slice()) {
            return Err(DecodeError::Foreign);
        }
        let size = u32_at(header, 12)? as usize;
        let mut own = header.get(..size).filter(|_| size >= 92).ok_or(DecodeError::Unsupported)?.to_vec();
        own.splice(16..20, [0; 4]);
        if crc32(&own) != u32_at(header, 16)? {
            return Err(DecodeError::TornHeader);
        }
        let (count, entry) = (u32_at(header, 80)? as usize, u32_at(header, 84)? as usize);
        if u64_at(header, 72)? != 2 || entry != ENTRY || count == 0 || count as u64 > ENTRIES {
            return Err(DecodeError::Unsupported);
        }
        let array = start.get(2 * at..).and_then(|rest| rest.get(..count * ENTRY)).ok_or(DecodeError::Short)?;
        if crc32(array) != u32_at(header, 88)? {
            return Err(DecodeError::TornEntries);
        }
        let mut partitions = array.chunks_exact(ENTRY).map(partition).collect::<Result<Vec<_>, _>>()?;
        while partitions.last().is_some_and(|last| last.kind.is_nil()) {
            partitions.pop();
        }
        let sectors = u64_at(header, 32)?.saturating_add(1);
        Ok(Table { disk: guid_at(header, 56)?, sector, sectors, partitions })
    }
}

fn partition(entry: &[u8]) -> Result<Partition, DecodeError> {
    let units: Vec<u16> = entry
        .get(56..)
        .unwrap_or_default()
        .as_chunks::<2>()
        .0
        .iter()
        .map(|unit| u16::from_le_bytes(*unit))
        .take_while(|unit| *unit != 0)
        .collect();
    Ok(Partition {
        kind: guid_at(entry, 0)?,
        id: guid_at(entry, 16)?,
        first: u64_at(entry, 32)?,
        last: u64_at(entry, 40)?,
        attributes: u64_at(entry, 48)?,
        name: String::from_utf16_lossy(&units),
    })
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], DecodeError> {
    bytes.get(at..).and_then(|rest| rest.first_chunk::<N>()).copied().ok_or(DecodeError::Short)
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, DecodeError> {
    field(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Result<u64, DecodeError> {
    field(bytes, at).map(u64::from_le_bytes)
}

fn guid_at(bytes: &[u8], at: usize) -> Result<Guid, DecodeError> {
    field(bytes, at).map(Guid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(sector: u64) -> Table {
        let part = |n: u64| Partition {
            kind: Guid::LINUX_DATA,
            id: Guid::custom([n as u8; 16]),
            first: n * 2048,
            last: n * 2048 + 2047,
            attributes: 0,
            name: format!("rk-{n}"),
        };
        Table { disk: Guid::ESP, sector, sectors: 1 << 20, partitions: (1..=3).map(part).collect() }
    }

    #[test]
    fn what_is_written_is_read_back_on_disks_of_both_sector_sizes() {
        for sector in [512, 4096] {
            let table = table(sector);
            let bytes = table.encode(&[0xeb; 440]);
            assert_eq!(bytes.start.len() as u64, Table::decode_bytes(sector));
            assert_eq!(Table::decode(&bytes.start, sector), Ok(table.clone()));
            assert_eq!(bytes.end_at + bytes.end.len() as u64, table.sectors * sector);
            assert_eq!(&bytes.start[510..512], [0x55, 0xaa]);
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_in_header_or_entries_is_found() {
        let bytes = table(512).encode(&[]).start;
        for (at, wanted) in
            [(520, None), (512 + 40, Some(DecodeError::TornHeader)), (1024 + 9, Some(DecodeError::TornEntries))]
        {
            let mut torn = bytes.clone();
            torn[at] ^= 1;
            let got = Table::decode(&torn, 512);
            assert!(got.is_err() && wanted.is_none_or(|wanted| got == Err(wanted)), "{at}: {got:?}");
        }
    }

    #[test]
    fn noise_is_refused_without_harm() {
        for bytes in [vec![], vec![0; 512], vec![0xff; 40_000], vec![0x45; 1024]] {
            assert!(Table::decode(&bytes, 512).is_err());
        }
        assert!(Table::decode(&[0; 64], u64::MAX).is_err());
    }
}

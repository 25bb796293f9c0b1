//! A table as bytes.

use crate::table::{Guid, Partition, Table};
use crate::{ENTRIES, ENTRY, crc32};

/// The two places of a disk that a table is written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// From sector 0: protective MBR, header, entries.
    pub start: Vec<u8>,
    /// The last bytes of the disk: entries, header.
    pub end: Vec<u8>,
    /// Byte offset of `end` on the disk.
    pub end_at: u64,
}

impl Table {
    /// Encodes both copies. `boot_code` is what the first 440 bytes of the disk hold.
    pub fn encode(&self, boot_code: &[u8]) -> Encoded {
        let sector = usize::try_from(self.sector).unwrap_or(512);
        let array_bytes = usize::try_from(self.array_sectors()).unwrap_or(32) * sector;
        let mut array = Vec::with_capacity(array_bytes);
        for partition in self.partitions.iter().take(ENTRIES as usize) {
            entry(&mut array, partition);
        }
        array.resize(ENTRIES as usize * ENTRY, 0);
        let array_sum = crc32(&array);
        array.resize(array_bytes, 0);
        let backup = self.sectors.saturating_sub(1);
        let mut start = self.protective_mbr(boot_code);
        start.resize(sector, 0);
        start.extend(self.header(1, backup, 2, array_sum, sector));
        start.extend_from_slice(&array);
        let mut end = array;
        let end_first = backup.saturating_sub(self.array_sectors());
        end.extend(self.header(backup, 1, end_first, array_sum, sector));
        Encoded { start, end, end_at: end_first * self.sector }
    }

    fn header(&self, own: u64, other: u64, array: u64, array_sum: u32, sector: usize) -> Vec<u8> {
        const SIZE: usize = 92;
        let mut header = Vec::with_capacity(sector);
        header.extend_from_slice(b"EFI PART");
        header.extend_from_slice(&0x0001_0000_u32.to_le_bytes());
        header.extend_from_slice(&(SIZE as u32).to_le_bytes());
        header.extend_from_slice(&[0; 8]);
        for value in [own, other, self.first_usable(), self.last_usable()] {
            header.extend_from_slice(&value.to_le_bytes());
        }
        header.extend_from_slice(&self.disk.0);
        header.extend_from_slice(&array.to_le_bytes());
        for value in [ENTRIES as u32, ENTRY as u32, array_sum] {
            header.extend_from_slice(&value.to_le_bytes());
        }
        let sum = crc32(&header).to_le_bytes();
        header.splice(16..20, sum);
        header.resize(sector, 0);
        header
    }

    /// One entry over the whole disk, and a second, empty one that is marked active: some BIOSes boot no disk without.
    fn protective_mbr(&self, boot_code: &[u8]) -> Vec<u8> {
        let mut mbr: Vec<u8> = boot_code.iter().copied().take(440).collect();
        mbr.resize(446, 0);
        let size = u32::try_from(self.sectors.saturating_sub(1)).unwrap_or(u32::MAX);
        mbr.extend_from_slice(&[0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0]);
        mbr.extend_from_slice(&size.to_le_bytes());
        mbr.extend_from_slice(&[0x80, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
        mbr.resize(510, 0);
        mbr.extend_from_slice(&[0x55, 0xaa]);
        mbr
    }
}

fn entry(array: &mut Vec<u8>, partition: &Partition) {
    let Partition { kind: Guid(kind), id: Guid(id), first, last, attributes, name } = partition;
    let end = array.len() + ENTRY;
    array.extend_from_slice(kind);
    array.extend_from_slice(id);
    for value in [first, last, attributes] {
        array.extend_from_slice(&value.to_le_bytes());
    }
    for unit in name.encode_utf16().take(36) {
        array.extend_from_slice(&unit.to_le_bytes());
    }
    array.resize(end, 0);
}

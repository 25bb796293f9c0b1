//! The table and what is in it.

use crate::{ENTRIES, ENTRY};
use std::fmt;

/// A GUID in the byte order of disks: the first three fields little-endian.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Guid(pub [u8; 16]);

impl Guid {
    /// EFI System Partition.
    pub const ESP: Guid = Guid::of(0xc12a_7328, 0xf81f, 0x11d2, 0xba4b_00a0_c93e_c93b);
    /// Where BIOS boot loaders lie.
    pub const BIOS_BOOT: Guid = Guid::of(0x2168_6148, 0x6449, 0x6e6f, 0x744e_6565_6445_4649);
    /// Linux root for x86-64 (Discoverable Partitions Specification).
    pub const LINUX_ROOT_X86_64: Guid = Guid::of(0x4f68_bce3, 0xe8cd, 0x4db1, 0x96e7_fbca_f984_b709);
    /// Linux data of any kind.
    pub const LINUX_DATA: Guid = Guid::of(0x0fc6_3daf, 0x8483, 0x4772, 0x8e79_3d69_d847_7de4);
    /// `/var` (Discoverable Partitions Specification).
    pub const LINUX_VAR: Guid = Guid::of(0x4d21_b016, 0xb534, 0x45c2, 0xa9fb_5c16_e091_fd2d);

    /// From the fields as they are written: `aaaaaaaa-bbbb-cccc-dddd-dddddddddddd`.
    pub const fn of(a: u32, b: u16, c: u16, d: u64) -> Guid {
        let (a, b, c, d) = (a.to_le_bytes(), b.to_le_bytes(), c.to_le_bytes(), d.to_be_bytes());
        Guid([a[0], a[1], a[2], a[3], b[0], b[1], c[0], c[1], d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7]])
    }

    /// A random-looking GUID (version 8: custom) made from 16 bytes such as a hash.
    pub const fn custom(bytes: [u8; 16]) -> Guid {
        let mut guid = bytes;
        guid[7] = guid[7] & 0x0f | 0x80;
        guid[8] = guid[8] & 0x3f | 0x80;
        Guid(guid)
    }

    /// No GUID: an unused entry.
    pub fn is_nil(&self) -> bool {
        self.0 == [0; 16]
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a0, a1, a2, a3, b0, b1, c0, c1, rest @ ..] = self.0;
        let (a, b, c) =
            (u32::from_le_bytes([a0, a1, a2, a3]), u16::from_le_bytes([b0, b1]), u16::from_le_bytes([c0, c1]));
        let [d0, d1, e0, e1, e2, e3, e4, e5] = rest;
        write!(f, "{a:08x}-{b:04x}-{c:04x}-{d0:02x}{d1:02x}-{e0:02x}{e1:02x}{e2:02x}{e3:02x}{e4:02x}{e5:02x}")
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One partition; both ends included, in sectors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// What it is for.
    pub kind: Guid,
    /// Its own identity.
    pub id: Guid,
    /// First sector.
    pub first: u64,
    /// Last sector.
    pub last: u64,
    /// Attribute bits.
    pub attributes: u64,
    /// Name; the first 36 UTF-16 units are kept.
    pub name: String,
}

impl Partition {
    /// Its size in sectors.
    pub fn sectors(&self) -> u64 {
        (self.last + 1).saturating_sub(self.first)
    }
}

/// A disk's table. Entries keep their numbers: an unused one between others is a nil [`Partition::kind`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The disk's identity.
    pub disk: Guid,
    /// Bytes of a sector: 512 or 4096.
    pub sector: u64,
    /// Sectors of the disk.
    pub sectors: u64,
    /// At most [`ENTRIES`].
    pub partitions: Vec<Partition>,
}

impl Table {
    /// Sectors that the array of entries takes.
    pub fn array_sectors(&self) -> u64 {
        (ENTRIES * ENTRY as u64).div_ceil(self.sector)
    }

    /// First sector that a partition may use.
    pub fn first_usable(&self) -> u64 {
        2 + self.array_sectors()
    }

    /// Last sector that a partition may use.
    pub fn last_usable(&self) -> u64 {
        self.sectors.saturating_sub(2 + self.array_sectors())
    }

    /// Fits the table to a disk of `sectors`: the partition that lies last is stretched to the end, in whole MiB. Answers its
    /// number (from 1), or `None` when there is nothing to gain or the disk is smaller than the table says.
    pub fn grow(&mut self, sectors: u64) -> Option<usize> {
        if sectors <= self.sectors {
            return None;
        }
        let grown = Table { sectors, ..self.clone() };
        let mib = ((1 << 20) / self.sector.max(1)).max(1);
        let last = ((grown.last_usable() + 1) / mib * mib).checked_sub(1)?;
        let (at, partition) =
            self.partitions.iter_mut().enumerate().filter(|(_, p)| !p.kind.is_nil()).max_by_key(|(_, p)| p.last)?;
        if last <= partition.last {
            return None;
        }
        partition.last = last;
        self.sectors = sectors;
        Some(at + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guid_reads_as_it_is_written_in_specifications() {
        assert_eq!(Guid::ESP.to_string(), "c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
        assert_eq!(Guid::BIOS_BOOT.0, *b"Hah!IdontNeedEFI");
    }

    fn table() -> Table {
        let part = |first, last| Partition {
            kind: Guid::LINUX_DATA,
            id: Guid::ESP,
            first,
            last,
            attributes: 0,
            name: String::new(),
        };
        Table { disk: Guid::ESP, sector: 512, sectors: 65_536, partitions: vec![part(2048, 4095), part(4096, 61_439)] }
    }

    #[test]
    fn only_the_last_partition_grows_and_only_on_a_larger_disk() {
        let mut table = table();
        assert_eq!(table.grow(65_536), None);
        assert_eq!(table.grow(131_072), Some(2));
        let ends: Vec<u64> = table.partitions.iter().map(|p| p.last).collect();
        assert_eq!(ends, [4095, 131_072 - 2048 - 1]);
        assert_eq!(table.sectors, 131_072);
        assert_eq!(table.grow(131_073), None);
    }
}

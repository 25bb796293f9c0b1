//! GUID partition tables (UEFI 2.10, chapter 5) as values: no IO, no clock, no allocation that a disk could choose the size of.
//!
//! [`Table`] is what a disk holds. [`Table::encode`] gives the bytes at its start and at its end, [`Table::decode`] reads the
//! primary copy and checks both checksums, [`Table::grow`] stretches the last partition to the end of a disk that became larger.

mod checksum;
mod decode;
mod encode;
mod table;

pub use checksum::crc32;
pub use decode::DecodeError;
pub use encode::Encoded;
pub use table::{Guid, Partition, Table};

/// Entries that a table of ours has room for; also the fewest that the specification allows.
pub const ENTRIES: u64 = 128;
/// Size of one entry.
pub const ENTRY: usize = 128;

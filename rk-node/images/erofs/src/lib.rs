//! Writes erofs, the kernel's read-only file system, uncompressed and in one pass.
//!
//! ```text
//! block 0             boot sector's room and the superblock
//! blocks 1..          contents of files, each from the beginning of a block, in the order that they came
//! metadata            inodes with their extended attributes; small directories and links lie right behind their inode
//! directories         whole blocks of large directories, and of links that are too long to lie behind their inode
//! ```
//!
//! A [`Writer`] takes contents as they come and answers where they lie; a [`Tree`] in memory says what is called how. When both are
//! done, [`Writer::finish`] writes what describes them, and answers with the first block, which makes a file system of the rest and
//! is to be written last.
//!
//! Source of the format: the kernel's `Documentation/filesystems/erofs.rst` and what `fs/erofs` of Linux 6.12 takes. Inodes are of the
//! extended kind, which knows owners of 32 bits and a time of its own; there are no shared attributes, no chunks, no second device.

mod attributes;
mod checksum;
mod directory;
mod output;
mod plan;
mod superblock;
mod tree;
mod writer;

pub use attributes::check as check_attribute;
pub use output::Output;
pub use tree::{Body, Dress, Id, Tree};
pub use writer::{Contents, Extent, Finished, Writer};

/// Bytes of a block.
pub const BLOCK: u64 = 4096;

/// Longest name of a file.
pub const MAX_NAME: usize = 255;

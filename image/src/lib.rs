//! The node's image: a compressed read-only erofs root inside an initramfs, the same bytes for the same input.
//!
//! [`build`] lays out the root ([`layout`]), has Debian's `mkfs.erofs` pack it ([`Packer`]), and writes the initramfs with a small cpio
//! writer of our own. The initramfs is two archives in a row: `/init` compressed, then the root image stored, for it is
//! compressed already and stays so in memory. PID 1 is that `/init` and lies nowhere else: the root has an empty file in its place, in
//! every medium ([`INIT`]). [`media`] makes CDs, disks and the like of it.

mod blank;
mod build;
mod cpio;
mod erofs;
pub mod initramfs;
mod layout;
mod manifest;
pub mod media;
mod program;

pub use build::{Image, Inputs, build};
pub use cpio::{Cpio, Node};
pub use erofs::{Compression, Packer};
pub use layout::{BINARIES, CNI_PLUGINS, CONFIG, Entry, INIT, SERVICES, layout};
pub use manifest::{FileInfo, Manifest};
pub use program::Program;

/// Debian packages that an image build needs.
pub const PACKAGES: &[&str] = &["erofs-utils"];

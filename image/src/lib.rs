//! The node's image: a compressed read-only erofs root inside an initramfs, the same bytes for the same input.
//!
//! [`build`] lays out the root ([`layout`]), has Debian's `mkfs.erofs` pack it, and writes the initramfs with a small cpio
//! writer of our own. The initramfs is two archives in a row: `/init` compressed, then the root image stored, for it is
//! compressed already and stays so in memory.

mod build;
mod cpio;
mod erofs;
mod layout;
mod manifest;

pub use build::{Image, Inputs, build};
pub use cpio::{Cpio, Node};
pub use layout::{BINARIES, CNI_PLUGINS, Entry, layout};
pub use manifest::{FileInfo, Manifest};

/// Debian packages that an image build needs.
pub const PACKAGES: &[&str] = &["erofs-utils"];

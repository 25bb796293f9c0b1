//! Media: the one root as an EFI program, a CD, a disk, a network boot tree, in equal bytes for equal input.
//!
//! ISO, PXE and the EFI program carry the root inside the initramfs. A disk has it in a partition, under dm-verity, and its
//! hash in the command line inside the EFI program.

mod build;
mod bzimage;
mod convert;
pub mod fat;
mod format;
mod gpt_parts;
mod grub;
mod installed;
pub mod iso;
pub mod pe;
mod pxe;
mod raw;
mod sbom;
mod sectors;
mod sign;
mod tools;
mod uki;
mod undated;

pub use build::{Artefact, Inputs, build};
pub use format::Format;
pub use installed::Installed;
pub use rk_slots::verity;
pub use sbom::cyclonedx;
pub use sectors::{IMAGE_SECTOR, Resectored};
pub use sign::Signer;
pub use tools::{PACKAGES, Tools};
pub use uki::{Parts, Uki, uki};

/// Command line of a medium when nobody asks for another: the screen and the first serial port, and a reboot after a panic.
pub const CMDLINE: &str = "console=tty0 console=ttyS0,115200 quiet panic=10";

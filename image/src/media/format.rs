//! The kinds of media.

use std::fmt;
use std::str::FromStr;

/// A kind of medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// An EFI program.
    Uki,
    /// A CD that is a USB stick too; UEFI and BIOS.
    Iso,
    /// A disk; UEFI and BIOS.
    Raw,
    /// The disk for QEMU and OpenStack.
    Qcow2,
    /// The disk for VMware.
    Vmdk,
    /// Files for network boot.
    Pxe,
}

impl Format {
    /// All of them.
    pub const ALL: [Format; 6] = [Format::Uki, Format::Iso, Format::Raw, Format::Qcow2, Format::Vmdk, Format::Pxe];

    /// Name of the file or folder of this format.
    pub fn file_name(self) -> &'static str {
        match self {
            Format::Uki => "rk.efi",
            Format::Iso => "rk.iso",
            Format::Raw => "rk.raw",
            Format::Qcow2 => "rk.qcow2",
            Format::Vmdk => "rk.vmdk",
            Format::Pxe => "pxe",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Uki => "uki",
            Format::Iso => "iso",
            Format::Raw => "raw",
            Format::Qcow2 => "qcow2",
            Format::Vmdk => "vmdk",
            Format::Pxe => "pxe",
        })
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Format, String> {
        let known = || Format::ALL.map(|format| format.to_string()).join(", ");
        Format::ALL
            .into_iter()
            .find(|format| format.to_string() == text)
            .ok_or_else(|| format!("{text:?} is none of {}", known()))
    }
}

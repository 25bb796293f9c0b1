//! Unified kernel images: kernel, initramfs and command line as one EFI program, which Secure Boot can vouch for as a whole.
//!
//! The stub is systemd's, as Debian builds and others sign it: it measures what it starts into the TPM and refuses foreign
//! command lines under Secure Boot. Putting the sections behind it is plain PE writing and done here.

use super::pe::{Placed, Section, append};
use anyhow::Result;

/// The parts.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// The EFI stub.
    pub stub: &'a [u8],
    /// A bzImage.
    pub kernel: &'a [u8],
    /// Its initramfs.
    pub initramfs: &'a [u8],
    /// Its command line.
    pub cmdline: &'a str,
    /// Version of rk.
    pub version: &'a str,
    /// Version of the kernel.
    pub release: &'a str,
}

/// A finished image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uki {
    /// The PE file.
    pub bytes: Vec<u8>,
    /// Where its sections lie.
    pub sections: Vec<Placed>,
}

/// Puts the parts together.
///
/// # Errors
/// The stub is no PE file with room for the sections.
pub fn uki(parts: &Parts<'_>) -> Result<Uki> {
    let Parts { stub, kernel, initramfs, cmdline, version, release } = *parts;
    // No VERSION_ID: systemd-boot would prefer the greater version to the newer generation, and no rollback could stand.
    let os_release = format!("ID=rk\nNAME=rk\nPRETTY_NAME=\"rk {version}\"\nIMAGE_ID=rk\nRK_VERSION={version}\n");
    let sections = [
        Section { name: ".osrel", data: os_release.as_bytes() },
        Section { name: ".cmdline", data: cmdline.as_bytes() },
        Section { name: ".uname", data: release.as_bytes() },
        Section { name: ".initrd", data: initramfs },
        // Last: older stubs let the kernel unpack itself in place and grow over its section's end.
        Section { name: ".linux", data: kernel },
    ];
    let (bytes, sections) = append(stub, &sections)?;
    Ok(Uki { bytes, sections })
}

impl Uki {
    /// Offset and length of a section within the file.
    pub fn section(&self, name: &str) -> Option<(u64, u64)> {
        self.sections.iter().find(|section| section.name == name).map(|section| (section.offset, section.len))
    }
}

//! GRUB for BIOS machines: the distribution's, for thirty years of BIOS quirks are in it and nowhere else.

use super::tools::Tools;
use crate::program::run;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// What a CD needs.
const CD: &[&str] = &["biosdisk", "iso9660", "linux", "part_gpt", "search_label"];
/// What a disk needs, with a menu file that an upgrade can write anew, and a block of variables that counts tries.
const DISK: &[&str] = &[
    "biosdisk",
    "configfile",
    "echo",
    "fat",
    "halt",
    "linux",
    "loadenv",
    "normal",
    "part_gpt",
    "reboot",
    "search_label",
    "test",
];

/// What kind of medium an image boots from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Medium {
    /// El Torito, no emulation; works on a stick too, together with `boot_hybrid.img`.
    Cd,
    /// A partition of the BIOS boot type, together with `boot.img`.
    Disk,
}

/// Makes an image that runs `script` first. `script` may use the modules of its medium alone, without `if` or `menuentry`.
///
/// # Errors
/// GRUB's tools are missing or fail.
pub fn image(tools: &Tools, medium: Medium, script: &str) -> Result<Vec<u8>> {
    let work = tempfile::tempdir().context("making a work directory")?;
    let (config, out) = (work.path().join("grub.cfg"), work.path().join("core.img"));
    fs::write(&config, script).context("writing GRUB's script")?;
    let (format, modules) = match medium {
        Medium::Cd => ("i386-pc-eltorito", CD),
        Medium::Disk => ("i386-pc", DISK),
    };
    let mut command = tools.grub_mkimage.command()?;
    command.args(["-O", format, "-p", "/grub", "-d"]).arg(&tools.grub_modules);
    command.arg("-c").arg(&config).arg("-o").arg(&out).args(modules);
    run("grub-mkimage (packages grub-common, grub-pc-bin)", &mut command)?;
    fs::read(&out).context("reading GRUB's image")
}

/// One of GRUB's boot sectors.
///
/// # Errors
/// It is not there.
pub fn boot_sector(tools: &Tools, name: &str) -> Result<Vec<u8>> {
    read(&tools.grub_modules, name)
}

fn read(modules: &Path, name: &str) -> Result<Vec<u8>> {
    Tools::read(&modules.join(name), "grub-pc-bin")
}

/// `boot.img` told where the image lies that it loads: `sector` of 512 bytes on the disk that it was booted from.
///
/// # Errors
/// It is no boot sector.
pub fn disk_boot_sector(boot: &[u8], sector: u64) -> Result<Vec<u8>> {
    const KERNEL_SECTOR: usize = 0x5c;
    const DRIVE_CHECK: usize = 0x66;
    let mut code = boot.get(..440).context("boot.img is cut short")?.to_vec();
    let mut put = |at: usize, bytes: &[u8]| -> Result<()> {
        code.get_mut(at..at + bytes.len()).context("boot sector")?.copy_from_slice(bytes);
        Ok(())
    };
    put(KERNEL_SECTOR, &sector.to_le_bytes())?;
    // Two no-ops in place of a jump: some BIOSes tell a hard disk by a floppy's number, and the code behind mends that.
    put(DRIVE_CHECK, &[0x90, 0x90])?;
    Ok(code)
}

/// An image for a disk told where its rest lies, when its first sector is at `sector`.
///
/// # Errors
/// It is cut short.
pub fn placed_core(core: &[u8], sector: u64) -> Result<Vec<u8>> {
    const BLOCK_LIST: usize = 0x1f4;
    let mut core = core.to_vec();
    core.get_mut(BLOCK_LIST..BLOCK_LIST + 8)
        .context("GRUB's image is cut short")?
        .copy_from_slice(&(sector + 1).to_le_bytes());
    Ok(core)
}

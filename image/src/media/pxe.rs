//! What a TFTP or HTTP server hands out.

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};

/// Writes kernel, initramfs, the EFI program for HTTP boot, an iPXE script and checksums into `dir`; answers the files.
///
/// # Errors
/// The folder cannot be written.
pub fn tree(dir: &Path, kernel: &[u8], initramfs: &[u8], uki: &[u8], cmdline: &str) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    // Relative names: iPXE takes them from where it had the script. `initrd=` is what the kernel's EFI stub looks for.
    let script = format!(
        "#!ipxe\n# Settings of your own go behind the command line, such as rk.config=base64:...\n\
         kernel vmlinuz initrd=initramfs {cmdline}\ninitrd initramfs\nboot\n"
    );
    let files = [("vmlinuz", kernel), ("initramfs", initramfs), ("rk.efi", uki), ("boot.ipxe", script.as_bytes())];
    let mut sums = String::new();
    let mut written = Vec::new();
    for (name, bytes) in files {
        let path = dir.join(name);
        fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))?;
        sums += &format!("{}  {name}\n", hex::encode(Sha256::digest(bytes)));
        written.push(path);
    }
    let path = dir.join("SHA256SUMS");
    fs::write(&path, sums).with_context(|| format!("writing {}", path.display()))?;
    written.push(path);
    Ok(written)
}

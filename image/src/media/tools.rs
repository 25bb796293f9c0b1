//! What media need of the distribution.

use crate::program::Program;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Debian packages of the tools, for a system that builds media with its own.
pub const PACKAGES: &[&str] =
    &["e2fsprogs", "grub-common", "grub-pc-bin", "qemu-utils", "sbsigntool", "systemd-boot-efi"];

/// Where the tools are.
#[derive(Debug, Clone)]
pub struct Tools {
    /// systemd's EFI stub, which turns kernel, initramfs and command line into one EFI program.
    pub stub: PathBuf,
    /// systemd-boot, which chooses among EFI programs and counts their tries.
    pub loader: PathBuf,
    /// `grub-mkimage`.
    pub grub_mkimage: Program,
    /// GRUB's modules and boot sectors for BIOS machines.
    pub grub_modules: PathBuf,
    /// `mkfs.ext4`.
    pub mkfs_ext4: Program,
    /// `qemu-img`.
    pub qemu_img: Program,
    /// `sbsign`, which is only run when a key is given.
    pub sbsign: Program,
}

const STUB: &str = "usr/lib/systemd/boot/efi/linuxx64.efi.stub";
const LOADER: &str = "usr/lib/systemd/boot/efi/systemd-bootx64.efi";
const MODULES: &str = "usr/lib/grub/i386-pc";

impl Tools {
    /// The system's own.
    pub fn system() -> Tools {
        Tools {
            stub: Path::new("/").join(STUB),
            loader: Path::new("/").join(LOADER),
            grub_mkimage: Program::own("grub-mkimage"),
            grub_modules: Path::new("/").join(MODULES),
            mkfs_ext4: Program::own("mkfs.ext4"),
            qemu_img: Program::own("qemu-img"),
            sbsign: Program::own("sbsign"),
        }
    }

    /// Out of packages that are unpacked below `folder`, each with all it depends on in a folder of its name; `mkfs.ext4` is
    /// the system's.
    pub fn unpacked(folder: &Path) -> Tools {
        let program = |package: &str, path: &str| Program::Unpacked { root: folder.join(package), path: path.into() };
        Tools {
            stub: folder.join("systemd-boot-efi").join(STUB),
            loader: folder.join("systemd-boot-efi").join(LOADER),
            grub_mkimage: program("grub-pc-bin", "usr/bin/grub-mkimage"),
            grub_modules: folder.join("grub-pc-bin").join(MODULES),
            mkfs_ext4: Program::own("mkfs.ext4"),
            qemu_img: program("qemu-utils", "usr/bin/qemu-img"),
            sbsign: program("sbsigntool", "usr/bin/sbsign"),
        }
    }

    /// The packages of [`Tools::unpacked`], and a file that each must hold.
    pub const UNPACKED: [(&str, &str); 3] =
        [("systemd-boot-efi", STUB), ("grub-pc-bin", "usr/bin/grub-mkimage"), ("qemu-utils", "usr/bin/qemu-img")];

    pub(crate) fn read(path: &Path, package: &str) -> Result<Vec<u8>> {
        std::fs::read(path).with_context(|| format!("reading {} (package {package})", path.display()))
    }
}

//! What tests of machines that start by firmware share: folders, UEFI with variables of its own, copies of the disk.

use crate::artifacts;
use rk_qemu::vm::Firmware;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An empty folder for a test of a tier.
pub fn folder(tier: &str, name: &str) -> PathBuf {
    let dir = artifacts().work.join(tier).join(name);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).expect("folder");
    dir
}

/// UEFI that keeps its variables in `dir`.
pub fn uefi(dir: &Path) -> Firmware {
    let ovmf = artifacts().closures.join("ovmf/usr/share/OVMF");
    let variables = dir.join("variables.fd");
    fs::copy(ovmf.join("OVMF_VARS_4M.fd"), &variables).expect("variables");
    Firmware::Uefi { code: ovmf.join("OVMF_CODE_4M.fd"), variables }
}

/// A disk in `dir` with the raw image on it, `gib` large.
pub fn copy_of_the_disk(dir: &Path, gib: u64) -> PathBuf {
    let path = dir.join("disk.raw");
    let copied = Command::new("cp").arg("--sparse=always").arg(artifacts().media.join("rk.raw")).arg(&path).status();
    assert!(copied.is_ok_and(|status| status.success()), "no copy of the disk");
    fs::OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(gib << 30)).expect("size");
    path
}

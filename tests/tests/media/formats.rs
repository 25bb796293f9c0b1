//! The formats of hypervisors, and the EFI program by itself.

use super::{Firmware, READY, folder, says, spec, start};
use rk_image::media::{Tools, fat};
use rk_qemu::vm::Bus;
use rk_tests::{artifacts, uefi};
use std::path::{Path, PathBuf};

/// A disk to write on, over a medium that stays as it is: a stream-optimized VMDK is not written to by anyone.
fn over(dir: &Path, name: &str, format: &str) -> PathBuf {
    let path = dir.join("disk.qcow2");
    let mut command = Tools::unpacked(&artifacts().closures).qemu_img.command().expect("qemu-img");
    command.args(["create", "-q", "-f", "qcow2", "-F", format, "-b"]).arg(artifacts().media.join(name)).arg(&path);
    let made = command.output().expect("qemu-img");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    path
}

#[test]
fn the_qcow2_boots_on_bios() {
    let dir = folder("media", "qcow2");
    let disk = over(&dir, "rk.qcow2", "qcow2");
    says(&mut start(&spec(&dir, Firmware::Bios).drive(&disk, false)), &["slot a runs", READY]);
}

#[test]
fn the_vmdk_boots_from_a_sata_disk_on_uefi() {
    let dir = folder("media", "vmdk");
    let disk = over(&dir, "rk.vmdk", "vmdk");
    says(&mut start(&spec(&dir, uefi(&dir)).drive_on(Bus::Ahci, &disk, false)), &["slot a runs", READY]);
}

#[test]
fn the_efi_program_boots_as_the_only_file_of_a_stick() {
    let dir = folder("media", "uki");
    let program = std::fs::read(artifacts().media.join("rk.efi")).expect("the program");
    let volume = fat::volume("RK-ESP", 0, &[("EFI/BOOT/BOOTX64.EFI", program.as_slice())]).expect("a volume");
    let stick = dir.join("stick.img");
    std::fs::write(&stick, volume.bytes).expect("stick");
    says(&mut start(&spec(&dir, uefi(&dir)).drive_on(Bus::Usb, &stick, true)), &[READY]);
}

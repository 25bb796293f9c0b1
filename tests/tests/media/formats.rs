//! The formats of hypervisors, the EFI program by itself, and all of them made again.

use super::secure_boot::keys;
use super::{Firmware, READY, folder, says, spec, start};
use rk_image::media::{Tools, fat};
use rk_qemu::vm::Bus;
use rk_tests::{Operator, artifacts, uefi};
use serde_json::Value;
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

/// What a folder of media has by its manifest: the sum of each file.
fn sums(folder: &Path) -> Vec<(String, String)> {
    let text = std::fs::read(folder.join("manifest.json")).expect("manifest");
    let manifest: Value = serde_json::from_slice(&text).expect("JSON of the manifest");
    let text = |artefact: &Value, field: &str| artefact[field].as_str().expect("a text").to_owned();
    let artefacts = manifest["artefacts"].as_array().expect("artefacts");
    let mut sums: Vec<_> = artefacts.iter().map(|one| (text(one, "path"), text(one, "sha256"))).collect();
    sums.sort();
    sums
}

#[test]
fn media_made_again_of_the_disk_are_equal_byte_for_byte_and_so_are_signed_ones() {
    let dir = folder("media", "again");
    let (raw, tools) = (artifacts().media.join("rk.raw").display().to_string(), artifacts().closures);
    let operator = Operator::new(&artifacts(), &dir);
    let build = |formats: &str, output: &str, more: &[&str]| {
        let args = ["image", "build", "--from", &raw, "--format", formats, "--output", output];
        let told = operator.run(&[args.as_slice(), &["--tools", &tools.display().to_string()], more].concat()).good();
        for format in formats.split(',') {
            let line = told.lines().find(|line| line.split_whitespace().next() == Some(format));
            assert!(line.is_some_and(|line| line.contains(" MiB ")), "no size of {format}: {told}");
        }
        sums(&dir.join(output))
    };
    let (again, first) = (build("uki,iso,raw,qcow2,vmdk,pxe", "again", &[]), sums(&artifacts().media));
    assert!(again.len() >= 10, "{again:?}");
    assert_eq!(again, first);
    // Where machines look for a config is in the program that starts them.
    build("uki", "cloud", &["--platform", "gcp"]);
    let program = std::fs::read(dir.join("cloud/rk.efi")).expect("the program");
    assert!(program.windows(15).any(|text| text == b"rk.platform=gcp"), "no platform on the command line");
    let (key, _) = keys(&dir);
    let signing = ["--sign", &key.display().to_string()];
    let signed = build("uki,iso", "signed", &signing);
    assert_eq!(build("uki,iso", "once-more", &signing), signed);
    // The second may have been made within the same second.
    let program = std::fs::read(dir.join("signed/rk.efi")).expect("the program");
    let end = program.get(program.len().saturating_sub(4096)..).unwrap_or_default();
    assert!(end.windows(13).any(|text| text == b"250101000000Z"), "the signature tells the time of day");
}

//! Media: CD, stick, disk and network boot the same node on both kinds of firmware, and a disk that was tampered with does not.

#[path = "media/formats.rs"]
mod formats;
#[path = "media/netboot.rs"]
mod netboot;
#[path = "media/proxy.rs"]
mod proxy;
#[path = "media/secure_boot.rs"]
mod secure_boot;

use rk_qemu::vm::{Bus, Firmware, Nic, Vm, VmSpec};
use rk_qemu::{cidata, disk};
use rk_tests::{artifacts, copy_of_the_disk, folder, limit, uefi};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

const READY: &str = "ready for its config";
/// Firmware, boot loader and kernel, all emulated, on a machine that may have other work.
const BOOT: u64 = 120;

fn spec(dir: &Path, firmware: Firmware) -> VmSpec {
    VmSpec::firmware("m", dir, artifacts().accel, firmware)
}

fn start(spec: &VmSpec) -> Vm {
    Vm::start(spec).expect("QEMU")
}

fn says(vm: &mut Vm, words: &[&str]) {
    for word in words {
        vm.wait_console(word, limit(BOOT)).unwrap_or_else(|e| panic!("{e}"));
    }
}

#[test]
fn the_iso_boots_from_a_cd_drive_on_bios() {
    let dir = folder("media", "cd-bios");
    let mut vm = start(&spec(&dir, Firmware::Bios).drive_on(Bus::Cd, &artifacts().media.join("rk.iso"), true));
    says(&mut vm, &[READY]);
}

#[test]
fn the_iso_boots_from_a_cd_drive_on_uefi() {
    let dir = folder("media", "cd-uefi");
    let mut vm = start(&spec(&dir, uefi(&dir)).drive_on(Bus::Cd, &artifacts().media.join("rk.iso"), true));
    says(&mut vm, &[READY]);
}

#[test]
fn the_iso_boots_from_a_usb_stick_on_bios() {
    let dir = folder("media", "stick-bios");
    let mut vm = start(&spec(&dir, Firmware::Bios).drive_on(Bus::Usb, &artifacts().media.join("rk.iso"), true));
    says(&mut vm, &[READY]);
}

#[test]
fn the_iso_on_a_usb_stick_takes_its_config_from_a_nocloud_drive_on_uefi() {
    let dir = folder("media", "stick-uefi");
    let config = format!(
        "apiVersion: rk.dev/v1alpha1\nkind: MachineConfig\nrole: worker\nhostname: from-drive\ncluster:\n  \
         endpoint: https://10.0.2.2:1\n  token: abcdef.0123456789abcdef\n  caHash: sha256:{}\n",
        "0".repeat(64)
    );
    let seed = dir.join("cidata.img");
    cidata::create(&seed, &config, "instance-id: media\n").expect("config drive");
    let spec = spec(&dir, uefi(&dir)).drive_on(Bus::Usb, &artifacts().media.join("rk.iso"), true).drive(&seed, true);
    says(&mut start(&spec), &["config accepted", "from-drive"]);
}

#[test]
fn the_disk_boots_on_bios_and_its_data_grows_to_the_end_and_stays() {
    let dir = folder("media", "disk-bios");
    let path = copy_of_the_disk(&dir, 2);
    let spec = spec(&dir, Firmware::Bios).drive(&path, false);
    let mut vm = start(&spec);
    // Only then does PID 1 listen to the power button.
    says(&mut vm, &["takes the rest of /dev/vda", "/var is on /dev/vda6", "keeps looking"]);
    assert!(vm.shutdown(limit(30)), "it did not power off:\n{}", vm.console().tail());
    let mark = vm.console().mark();
    drop(vm);
    let mut again = start(&spec);
    again.wait_console_from(mark, READY, limit(BOOT)).unwrap_or_else(|e| panic!("{e}"));
    let text = again.console().text();
    assert_eq!(text.matches("takes the rest of").count(), 1, "it grew twice: {text}");
    assert_eq!(text.matches("/var is on /dev/vda6").count(), 2, "{text}");
}

#[test]
fn a_slot_whose_sums_are_lost_boots_on_bios_when_there_is_no_other() {
    let dir = folder("media", "sums");
    let path = copy_of_the_disk(&dir, 1);
    disk::spoil_file(&path, 2 << 20, 96 << 20, "rk/a/sums").expect("the sums of slot a");
    says(&mut start(&spec(&dir, Firmware::Bios).drive(&path, false)), &["slot a runs", READY]);
}

#[test]
fn the_disk_boots_from_nvme_on_uefi() {
    let dir = folder("media", "disk-uefi");
    let mut vm = start(&spec(&dir, uefi(&dir)).drive_on(Bus::Nvme, &copy_of_the_disk(&dir, 1), false));
    says(&mut vm, &["/var is on /dev/nvme0n1p6", READY]);
}

#[test]
fn a_flipped_bit_in_the_only_root_is_found_and_the_machine_says_that_nothing_else_boots() {
    let dir = folder("media", "flipped");
    let path = copy_of_the_disk(&dir, 1);
    // The superblock of the root, in the first slot: the first thing that is read.
    let file = std::fs::OpenOptions::new().read(true).write(true).open(&path).expect("disk");
    let at = (1 + 1 + 96) * (1 << 20) + 1024 + 8;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("read");
    file.write_all_at(&[byte[0] ^ 1], at).expect("write");
    let mut vm = start(&spec(&dir, Firmware::Bios).drive(&path, false));
    says(&mut vm, &["pid 1 up", "corrupted", "slot b holds nothing that boots", "rebooting in 600 s"]);
    assert!(!vm.console().text().contains(READY));
}

#[test]
fn the_network_boots_the_node_by_ipxe() {
    let dir = folder("media", "pxe");
    let folder = artifacts().media.join("pxe");
    let card = Nic::Netboot { mac: "52:54:00:00:00:01".into(), folder, file: "boot.ipxe".into(), forwards: Vec::new() };
    // TFTP asks for every packet anew. By HTTP it is done where a machine that the network booted is installed.
    let mut vm = start(&spec(&dir, Firmware::Bios).nic(card));
    vm.wait_console(READY, limit(netboot::FETCHED)).unwrap_or_else(|err| panic!("{err}"));
}

#[test]
fn the_manifest_tells_the_truth_about_every_file() {
    let media = artifacts().media;
    let manifest = std::fs::read(media.join("manifest.json")).expect("manifest");
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("JSON");
    let listed = manifest["artefacts"].as_array().expect("artefacts");
    assert!(listed.len() >= 10, "{listed:?}");
    for artefact in listed {
        let path = media.join(artefact["path"].as_str().expect("path"));
        let sum = Command::new("sha256sum").arg(&path).output().expect("sha256sum");
        let sum = String::from_utf8(sum.stdout).expect("text");
        assert_eq!(sum.split_whitespace().next(), artefact["sha256"].as_str(), "{}", path.display());
        let length = std::fs::metadata(&path).expect("size").len();
        assert_eq!(artefact["bytes"].as_u64(), Some(length), "{}", path.display());
    }
    let root = rk_image::media::Installed::open(&media.join("rk.raw")).expect("the image").root;
    assert_eq!(manifest["rootHash"].as_str(), Some(root.hash.as_str()), "{manifest}");
    for part in ["rk", "kernel"] {
        assert!(manifest["versions"][part].as_str().is_some_and(|version| !version.is_empty()), "{manifest}");
    }
    parts_are_listed(&media.join("sbom.cdx.json"));
    let mut sums = Command::new("sha256sum");
    sums.args(["--check", "--strict", "SHA256SUMS"]).current_dir(media.join("pxe"));
    rk_tests::succeed(&mut sums, "the sums of the network boot tree are not those of its files");
}

/// The bill of materials names what programs are linked of, and the kernel, with versions and licences.
fn parts_are_listed(path: &Path) {
    let bill: serde_json::Value =
        serde_json::from_slice(&std::fs::read(path).expect("bill of materials")).expect("JSON of the bill");
    assert_eq!(bill["bomFormat"].as_str(), Some("CycloneDX"), "{bill}");
    let parts = bill["components"].as_array().expect("components");
    assert!(parts.len() > 100, "{} parts", parts.len());
    for wanted in ["rk", "tokio", "rustls", "libcontainer", "linux"] {
        let part = parts.iter().find(|part| part["name"].as_str() == Some(wanted));
        let part = part.unwrap_or_else(|| panic!("{wanted} is not listed"));
        assert!(part["version"].as_str().is_some_and(|version| !version.is_empty()), "{part}");
        assert!(part["licenses"].as_array().is_some_and(|licences| !licences.is_empty()), "{part}");
    }
}

//! Installations from a CD and from the network: on the disk that is meant, behind every controller, with sectors of both sizes; and the end of them.

use super::{Installed, artifacts, uefi};
use rk_qemu::disk;
use rk_qemu::http::serve_folder;
use rk_qemu::vm::{Bus, Firmware, Forward, Nic, VmSpec};
use rk_tests::exit::{NOT_FOUND, PRECONDITION, REFUSED};
use rk_tests::{MACHINE_API, Outcome};
use std::fs::File;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};

fn empty(dir: &Path, name: &str) -> PathBuf {
    let path = dir.join(name);
    File::create(&path).and_then(|file| file.set_len(2 << 30)).expect("disk");
    path
}

/// Starts the CD on a machine with these disks; answers how to install on one of them.
fn from_cd<F: Fn(VmSpec) -> VmSpec>(
    machine: &mut Installed,
    disks: F,
) -> impl Fn(&Installed, &str, &[&str]) -> Outcome + use<F> {
    let iso = artifacts().media.join("rk.iso");
    machine.spec = disks(machine.spec.clone().drive_on(Bus::Cd, &iso, true));
    machine.operator.run(&["config", "gen", "paper", "https://10.0.2.2:1"]).good();
    machine.start();
    let fingerprint = machine.fingerprint();
    // A link in our own folder, where a signature may go.
    symlink(artifacts().media.join("rk.raw"), machine.dir.join("rk.raw")).expect("link");
    move |machine, disk, flags| {
        let reach = ["--insecure", "--fingerprint", &fingerprint, "--config", "worker.yaml"];
        machine.rkctl(&[&["node", "install", "rk.raw", "--disk", disk], reach.as_slice(), flags].concat())
    }
}

#[test]
fn a_cd_installs_on_a_disk_that_is_meant_and_empty_and_the_disk_boots_with_its_config() {
    let mut machine = Installed::bare("install", uefi);
    // Nothing that is known: an array, a volume group, whatever somebody keeps there.
    let odd = empty(&machine.dir, "odd.raw");
    let mark = std::fs::OpenOptions::new().write(true).open(&odd).expect("disk");
    mark.write_all_at(b"somebody's", 0x4000).expect("mark");
    let (empty, foreign) = (empty(&machine.dir, "empty.raw"), machine.dir.join("foreign.raw"));
    disk::create_data(&foreign, 1024).expect("file system");
    let label = std::fs::OpenOptions::new().write(true).open(&foreign).expect("disk");
    label.write_all_at(b"FAMILY\0", 1024 + 0x78).expect("label");
    let disks = |spec: VmSpec| spec.drive_on(Bus::Nvme, &empty, false).drive(&foreign, false).drive(&odd, false);
    let bare = machine.spec.clone();
    let install = from_cd(&mut machine, disks);
    let told = install(&machine, "/dev/vda", &["--dry-run"]);
    assert!(told.code == PRECONDITION && told.out.contains("FAMILY") && told.err.contains("--wipe"), "{told:?}");
    install(&machine, "/dev/vda", &["--dry-run", "--wipe"]).good();
    let told = install(&machine, "/dev/vdb", &[]);
    assert!(told.code == PRECONDITION && told.err.contains("unknown data"), "{told:?}");
    let told = install(&machine, "bus=nvme,size=largest", &["--dry-run", "-o", "json"]).good();
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON of the plan");
    assert!(told["disk"]["path"] == "/dev/nvme0n1" && told["needs_wipe"] == false, "{told}");
    assert!(told["partitions"].as_array().is_some_and(|made| made.iter().any(|part| part["name"] == "rk-state")));
    let mut start = vec![0; 1 << 20];
    File::open(&empty).and_then(|file| file.read_exact_at(&mut start, 0)).expect("disk");
    assert!(start.iter().all(|byte| *byte == 0), "a dry run has written");
    let refused = install(&machine, "/dev/vda", &["--reboot"]);
    assert!(refused.code == PRECONDITION && refused.err.contains("FAMILY"), "{refused:?}");
    let unknown = install(&machine, "serial=nobody", &["--reboot"]);
    assert!(unknown.code == NOT_FOUND && unknown.err.contains("/dev/nvme0n1"), "{unknown:?}");
    machine.operator.run(&["image", "key", "release"]).good();
    let key = std::fs::read_to_string(machine.dir.join("release.pub")).expect("key");
    let config = std::fs::read_to_string(machine.dir.join("worker.yaml")).expect("config");
    std::fs::write(machine.dir.join("worker.yaml"), format!("{config}\nupgrade: {{keys: [{key:?}]}}\n"))
        .expect("config");
    let unsigned = install(&machine, "bus=nvme,size=largest", &["--reboot"]);
    assert!(unsigned.code == REFUSED && unsigned.err.contains("takes signed images alone"), "{unsigned:?}");
    machine.operator.run(&["image", "sign", "--key", "release.key", "rk.raw"]).good();
    install(&machine, "bus=nvme,size=largest", &["--reboot"]).good();
    machine.ends();
    machine.spec = disks(bare);
    machine.start();
    machine.says(&["takes the rest of /dev/nvme0n1", "slot a runs", "config accepted from the machine's state"]);
    machine.answers();
    // What is not asked for stays: the config survives the data.
    machine.starts_again_by(&["node", "reset", "--data"]);
    machine.says(&["reset: erasing images, pods and logs", "config accepted from the machine's state"]);
    machine.answers();
    machine.starts_again_by(&["node", "reset", "--all"]);
    machine.says(&["reset: /dev/nvme0n1 holds no system any more"]);
    machine.ends();
    let mut start = vec![0; 1 << 20];
    File::open(&empty).and_then(|file| file.read_exact_at(&mut start, 0)).expect("disk");
    assert!(!start.windows(8).any(|window| window == b"EFI PART"), "a partition table is left");
}

/// The rule by which a machine that waits knows its only disk on this bus.
fn wwid_of(machine: &mut Installed, bus: &str) -> String {
    let fingerprint = machine.fingerprint();
    let told = machine.rkctl(&["node", "disks", "--insecure", "--fingerprint", &fingerprint, "-o", "json"]).good();
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON of the disks");
    let disks = told["disks"].as_array().expect("disks");
    let disk = disks.iter().find(|disk| disk["bus"] == bus && disk["read_only"] == false);
    let disk = disk.unwrap_or_else(|| panic!("no disk on {bus}: {told}"));
    assert!(disk["serial"] == "rk1" && disk["wwid"].as_str().is_some_and(|wwid| !wwid.is_empty()), "{disk}");
    format!("wwid={}", disk["wwid"].as_str().unwrap_or_default())
}

#[test]
fn disks_behind_every_controller_and_of_large_sectors_are_installed_and_boot() {
    let mut machine = Installed::bare("controllers", uefi);
    let bare = machine.spec.clone();
    let disks: Vec<(Bus, u32, &str, PathBuf)> = [
        (Bus::Ahci, 512, ""),
        (Bus::Scsi, 4096, "serial=rk2"),
        (Bus::Virtio, 512, "/dev/vda"),
        (Bus::Nvme, 4096, "/dev/nvme0n1"),
        (Bus::Scsi, 512, "serial=rk5"),
        (Bus::Virtio, 4096, "/dev/vdb"),
    ]
    .into_iter()
    .enumerate()
    .map(|(n, (bus, sector, name))| (bus, sector, name, empty(&machine.dir, &format!("disk{n}.raw"))))
    .collect();
    let attach = |spec: VmSpec, (bus, sector, _, path): &(Bus, u32, &str, PathBuf)| {
        let mut spec = spec.drive_on(*bus, path, false);
        spec.drives.last_mut().expect("a drive").sector = *sector;
        spec
    };
    let install = from_cd(&mut machine, |spec| disks.iter().fold(spec, attach));
    let said = machine.said();
    let known = wwid_of(&mut machine, "ata");
    for (bus, sector, name, _) in &disks {
        // Names of some depend on which controller is quicker: they are known by what is theirs alone. The CD is drive 0.
        let wanted = if *bus == Bus::Ahci { known.as_str() } else { name };
        let outcome = install(&machine, wanted, &[]);
        assert_eq!(outcome.code, 0, "{bus:?} {sector}: {outcome:?}\n{said}");
        assert_eq!(outcome.err.contains("sectors of 4096 bytes"), *sector == 4096, "{outcome:?}");
    }
    for disk in &disks {
        machine.spec = attach(bare.clone(), disk);
        machine.start();
        machine.says(&["takes the rest of /dev/", "slot a runs", "config accepted from the machine's state"]);
    }
    machine.answers();
}

#[test]
fn a_machine_that_the_network_booted_is_installed_and_boots_from_its_disk_on_bios() {
    let mut machine = Installed::bare("from-network", |_| Firmware::Bios);
    let (bare, disk) = (machine.spec.clone(), empty(&machine.dir, "empty.raw"));
    let pxe = artifacts().media.join("pxe");
    let file = format!("http://10.0.2.2:{}/boot.ipxe", serve_folder(&pxe).expect("web server"));
    let forwards = vec![Forward { host: machine.node, guest: MACHINE_API }];
    machine.spec.nics = vec![Nic::Netboot { mac: "52:54:00:00:00:01".into(), folder: pxe, file, forwards }];
    machine.spec = machine.spec.clone().drive(&disk, false);
    machine.operator.run(&["config", "gen", "paper", "https://10.0.2.2:1"]).good();
    machine.start();
    let fingerprint = machine.fingerprint();
    let raw = artifacts().media.join("rk.raw").display().to_string();
    let install = ["node", "install", &raw, "--disk", "size=smallest", "--config", "worker.yaml", "--reboot"];
    machine.rkctl(&[install.as_slice(), &["--insecure", "--fingerprint", &fingerprint]].concat()).good();
    machine.ends();
    machine.spec = bare.drive(&disk, false);
    machine.start();
    machine.says(&["takes the rest of /dev/vda", "slot a runs", "config accepted from the machine's state"]);
    machine.answers();
}

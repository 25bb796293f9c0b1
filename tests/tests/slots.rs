//! The two slots of an installed machine: upgrades that succeed, fail and are cut off, the way back, forgetting, installing.

use rk_qemu::console::Console;
use rk_qemu::vm::{Bus, Firmware, Forward, Nic, Vm, VmSpec};
use rk_qemu::{cidata, disk};
use rk_tests::{Operator, Outcome, artifacts, copy_of_the_disk, eventually, folder, limit, uefi};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Port of the machine API in the guest.
const PORT: u16 = 50_000;
/// Firmware, boot loader, kernel and a slot that is read through its hashes, all emulated, on a machine that may have other work.
const BOOT: u64 = 120;
/// Exit codes of rkctl by class.
const PRECONDITION: i32 = 5;
const NOT_FOUND: i32 = 6;

/// A machine that may run or not, its disk, and who manages it.
struct Installed {
    spec: VmSpec,
    dir: PathBuf,
    node: SocketAddr,
    operator: Operator,
    vm: Option<Vm>,
    mark: u64,
}

/// Another image than the one that is installed: `next` has another root, `broken` a kernel that finds no root.
fn image(name: &str) -> String {
    artifacts().media.join(name).join("rk.raw").display().to_string()
}

impl Installed {
    /// A machine without drives.
    fn bare(name: &str, firmware: fn(&Path) -> Firmware) -> Installed {
        let (dir, artifacts) = (folder("slots", name), artifacts());
        let node = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.local_addr()).expect("a port");
        let uplink =
            Nic::Uplink { mac: "52:54:00:00:00:01".into(), forwards: vec![Forward { host: node, guest: PORT }] };
        let spec = VmSpec::firmware("m", &dir, artifacts.accel, firmware(&dir)).nic(uplink);
        let operator = Operator::new(&artifacts, &dir);
        Installed { spec, operator, node, vm: None, mark: 0, dir }
    }

    /// A machine with the image on its disk.
    fn new(name: &str, firmware: fn(&Path) -> Firmware) -> Installed {
        let mut machine = Installed::bare(name, firmware);
        machine.spec = machine.spec.clone().drive(&copy_of_the_disk(&machine.dir, 2), false);
        machine
    }

    /// A worker of a cluster that is nowhere, by a config drive.
    fn worker(name: &str, firmware: fn(&Path) -> Firmware) -> Installed {
        let mut machine = Installed::new(name, firmware);
        machine.operator.run(&["config", "gen", "paper", "https://10.0.2.2:1"]).good();
        let config = std::fs::read_to_string(machine.dir.join("worker.yaml")).expect("worker.yaml");
        let seed = machine.dir.join("cidata.img");
        cidata::create(&seed, &config, "instance-id: slots\n").expect("config drive");
        machine.spec = machine.spec.clone().drive(&seed, true);
        machine
    }

    fn start(&mut self) {
        self.vm = None;
        self.mark = Console::new("m", &self.spec.console_log()).mark();
        self.vm = Some(Vm::start(&self.spec).expect("QEMU"));
    }

    fn vm(&mut self) -> &mut Vm {
        self.vm.as_mut().expect("a running machine")
    }

    /// Waits for words that this boot says, in any order.
    fn says(&mut self, words: &[&str]) -> String {
        let mark = self.mark;
        let mut text = String::new();
        for word in words {
            text = self.vm().wait_console_from(mark, word, limit(BOOT)).unwrap_or_else(|err| panic!("{err}"));
        }
        text
    }

    /// What this boot has said so far.
    fn said(&mut self) -> String {
        let mark = self.mark;
        self.vm().console().text_since(mark)
    }

    /// Waits until the machine has ended by itself.
    fn ends(&mut self) {
        let ended = self.vm().wait_end(limit(BOOT));
        assert!(ended, "it stayed up:\n{}", self.vm().console().tail());
    }

    fn rkctl(&self, args: &[&str]) -> Outcome {
        let node = self.node.to_string();
        self.operator.run(&[&["--timeout", "120", "-n", &node], args].concat())
    }

    fn answers(&self) {
        eventually("the machine API to answer", limit(BOOT), || {
            let outcome = self.rkctl(&["node", "version"]);
            if outcome.code == 0 && outcome.out.contains("running") { Ok(()) } else { Err(outcome.err) }
        });
    }

    /// The fingerprint on the console of a machine that waits for a config.
    fn fingerprint(&mut self) -> String {
        let text = self.says(&["--fingerprint sha256:"]);
        let digits: String = text.rsplit("--fingerprint sha256:").next().unwrap_or_default().chars().take(64).collect();
        format!("sha256:{digits}")
    }
}

#[test]
fn an_upgrade_is_good_once_the_node_is_ready_and_a_rollback_returns() {
    let mut machine = Installed::new("upgrade", |_| Firmware::Bios);
    machine.spec.memory_mib = 1536;
    machine.operator.run(&["config", "gen", "demo", "https://10.0.2.15:6443"]).good();
    machine.start();
    machine.says(&["slot a runs", "the machine's state is on /dev/vda5", "/var is on /dev/vda6"]);
    let fingerprint = machine.fingerprint();
    machine.rkctl(&["node", "apply", "--insecure", "--fingerprint", &fingerprint, "control-plane.yaml"]).good();
    machine.answers();
    let same = artifacts().media.join("rk.raw").display().to_string();
    let refused = machine.rkctl(&["node", "upgrade", &same]);
    assert!(refused.code == PRECONDITION && refused.err.contains("runs this root already"), "{refused:?}");
    machine.rkctl(&["node", "upgrade", &image("next")]).good();
    machine.ends();
    machine.start();
    machine.says(&[
        "slot b is on trial",
        "config accepted from the machine's state",
        "slot b is good: the node is Ready",
    ]);
    machine.answers();
    machine.rkctl(&["node", "rollback"]).good();
    machine.ends();
    machine.start();
    machine.says(&["slot a is on trial", "slot a is good: the node is Ready"]);
    machine.answers();
    machine.rkctl(&["node", "reset", "--state"]).good();
    machine.ends();
    machine.start();
    machine.says(&["reset: erasing config and identity", "rkctl node apply --insecure"]);
    assert!(!machine.said().contains("config accepted"), "{}", machine.said());
}

/// Upgrades to what cannot start, and boots until the boot loader has had enough.
fn falls_back(name: &str, firmware: fn(&Path) -> Firmware) {
    let mut machine = Installed::worker(name, firmware);
    machine.start();
    machine.says(&["slot a runs"]);
    machine.answers();
    machine.rkctl(&["node", "upgrade", &image("broken")]).good();
    machine.ends();
    for _ in 0..3 {
        machine.start();
        machine.says(&["Kernel panic"]);
        machine.ends();
        assert!(!machine.said().contains("slot a runs"), "{}", machine.said());
    }
    machine.start();
    machine.says(&["slot a runs; slot b failed 3 boots and is left alone"]);
    machine.answers();
    let refused = machine.rkctl(&["node", "rollback"]);
    assert!(refused.code == PRECONDITION && refused.err.contains("holds nothing that boots"), "{refused:?}");
    machine.rkctl(&["node", "upgrade", &image("next"), "--no-reboot"]).good();
}

#[test]
fn a_slot_that_fails_three_boots_is_left_alone_on_bios() {
    falls_back("fallback-bios", |_| Firmware::Bios);
}

#[test]
fn a_slot_that_fails_three_boots_is_left_alone_on_uefi() {
    falls_back("fallback-uefi", uefi);
}

#[test]
fn an_upgrade_that_is_cut_off_leaves_a_machine_that_boots() {
    let mut machine = Installed::worker("power-cut", |_| Firmware::Bios);
    // Spread over the whole of it: erasing, receiving, writing, reading back, the boot loader's files.
    for tenths in [1_u64, 8, 20, 45] {
        machine.start();
        machine.says(&["rk: slot "]);
        machine.answers();
        let (operator, node, image) = (machine.operator.clone(), machine.node.to_string(), image("next"));
        let upgrade =
            std::thread::spawn(move || operator.run(&["-n", &node, "node", "upgrade", &image, "--no-reboot"]));
        // The moment itself is what varies; whatever it hits must be survived.
        std::thread::sleep(Duration::from_millis(tenths * 100));
        machine.vm().kill();
        let _ = upgrade.join();
    }
    machine.start();
    machine.says(&["rk: slot "]);
    machine.answers();
    // Unless the last one was whole in spite of its cut, and runs: another goes through.
    if machine.said().contains("slot a runs") {
        machine.rkctl(&["node", "upgrade", &image("next")]).good();
        machine.ends();
        machine.start();
        machine.says(&["slot b is on trial"]);
    }
}

#[test]
fn a_cd_installs_on_a_disk_that_is_meant_and_empty_and_the_disk_boots_with_its_config() {
    let mut machine = Installed::bare("install", uefi);
    let (empty, foreign) = (machine.dir.join("empty.raw"), machine.dir.join("foreign.raw"));
    std::fs::File::create(&empty).and_then(|file| file.set_len(2 << 30)).expect("disk");
    disk::create_data(&foreign, 1024).expect("file system");
    let label = std::fs::OpenOptions::new().write(true).open(&foreign).expect("disk");
    label.write_all_at(b"FAMILY\0", 1024 + 0x78).expect("label");
    let iso = artifacts().media.join("rk.iso");
    let disks = |spec: VmSpec| spec.drive_on(Bus::Nvme, &empty, false).drive(&foreign, false);
    let bare = machine.spec.clone();
    machine.spec = disks(bare.clone().drive_on(Bus::Cd, &iso, true));
    machine.operator.run(&["config", "gen", "paper", "https://10.0.2.2:1"]).good();
    machine.start();
    let fingerprint = machine.fingerprint();
    let raw = artifacts().media.join("rk.raw").display().to_string();
    let install = |disk: &str, machine: &Installed| {
        let reach = ["--insecure", "--fingerprint", &fingerprint, "--config", "worker.yaml", "--reboot"];
        machine.rkctl(&[&["node", "install", &raw, "--disk", disk], reach.as_slice()].concat())
    };
    let refused = install("/dev/vda", &machine);
    assert!(refused.code == PRECONDITION && refused.err.contains("FAMILY"), "{refused:?}");
    let unknown = install("serial=nobody", &machine);
    assert!(unknown.code == NOT_FOUND && unknown.err.contains("/dev/nvme0n1"), "{unknown:?}");
    install("bus=nvme,size=largest", &machine).good();
    machine.ends();
    machine.spec = disks(bare);
    machine.start();
    machine.says(&["takes the rest of /dev/nvme0n1", "slot a runs", "config accepted from the machine's state"]);
    machine.answers();
}

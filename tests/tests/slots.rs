//! The two slots of an installed machine: upgrades that succeed, fail and are cut off, the way back, forgetting, installing.

#[path = "slots/bitten.rs"]
mod bitten;
#[path = "slots/corruption.rs"]
mod corruption;
#[path = "slots/encryption.rs"]
mod encryption;
#[path = "slots/endurance.rs"]
mod endurance;
#[path = "slots/evidence.rs"]
mod evidence;
#[path = "slots/install.rs"]
mod install;
#[path = "slots/upgrade.rs"]
mod upgrade;

use rk_image::media::{Format, Inputs, Installed as Image, Tools, build};
use rk_qemu::cidata;
use rk_qemu::console::Console;
use rk_qemu::vm::{Firmware, Vm, VmSpec};
use rk_tests::exit::PRECONDITION;
use rk_tests::{
    MACHINE_API, Operator, Outcome, artifacts, copy_of_the_disk, eventually, folder, free_address, limit, uefi, uplink,
};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Port of the API server in the guest, where it is a control plane.
const API: u16 = 6443;
/// Firmware, boot loader, kernel and a slot that is read through its hashes, all emulated, on a machine that may have other work.
const BOOT: u64 = 120;

/// A machine that may run or not, its disk, and who manages it.
struct Installed {
    spec: VmSpec,
    dir: PathBuf,
    node: SocketAddr,
    api: SocketAddr,
    operator: Operator,
    vm: Option<Vm>,
    mark: u64,
}

/// Another image than the one that is installed: `next` has the same root and another command line, `impatient` one whose watchdog waits
/// a minute for the node agent, `broken` a kernel that finds no root.
fn image(name: &str) -> String {
    artifacts().media.join(name).join("rk.raw").display().to_string()
}

/// What is installed, changed and built anew in a folder of the machine's; its raw disk.
fn built(machine: &Installed, name: &str, change: impl FnOnce(&mut Inputs)) -> String {
    let image = Image::open(&artifacts().media.join("rk.raw")).expect("the image");
    let mut inputs = Inputs {
        kernel: image.section(".linux").expect("a kernel"),
        starter: image.section(".initrd").expect("an initramfs"),
        root: image.root_image().expect("a root"),
        signer: None,
        cmdline: image.cmdline().expect("a command line"),
        tools: Tools::unpacked(&artifacts().closures),
        version: image.version.clone(),
        sbom: None,
        out: machine.dir.join(name),
    };
    change(&mut inputs);
    build(&inputs, &[Format::Raw]).expect("an image");
    inputs.out.join("rk.raw").display().to_string()
}

impl Installed {
    /// A machine without drives.
    fn bare(name: &str, firmware: fn(&Path) -> Firmware) -> Installed {
        let (dir, artifacts) = (folder("slots", name), artifacts());
        let (node, api) = (free_address(), free_address());
        let uplink = uplink(&[(node, MACHINE_API), (api, API)]);
        let spec = VmSpec::firmware("m", &dir, artifacts.accel, firmware(&dir)).nic(uplink);
        let operator = Operator::new(&artifacts, &dir);
        Installed { spec, operator, node, api, vm: None, mark: 0, dir }
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
        self.turn_page();
        self.vm = Some(Vm::start(&self.spec).expect("QEMU"));
    }

    /// What the machine said until now is none of what it says next.
    fn turn_page(&mut self) {
        self.mark = Console::new("m", &self.spec.console_log()).mark();
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

    /// Tells the machine what ends it, and starts it once more.
    fn starts_again_by(&mut self, verb: &[&str]) {
        self.rkctl(verb).good();
        self.ends();
        self.start();
    }

    /// Resets its STATE, after which it waits for a config.
    fn forgets_its_config(&mut self) {
        self.starts_again_by(&["node", "reset", "--state"]);
        self.says(&["reset: erasing config and identity", "rkctl node apply --insecure"]);
        assert!(!self.said().contains("config accepted"), "{}", self.said());
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

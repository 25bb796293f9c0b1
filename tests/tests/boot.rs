//! One machine: the image boots, says what is wrong with its config, stays up, and powers off cleanly.

use rk_qemu::vm::{Machine, Nic, Vm, VmSpec};
use rk_qemu::{cidata, disk};
use rk_tests::{artifacts, eventually, limit};
use std::path::PathBuf;
use std::process::Command;

/// A machine with an uplink, a data disk, and `config` on a config drive when given.
fn boot(name: &str, machine: Machine, config: Option<&str>) -> Vm {
    let artifacts = artifacts();
    let dir: PathBuf = artifacts.work.join("boot").join(name);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("folder");
    let mut spec = VmSpec::new(name, &dir, artifacts.accel, &artifacts.kernel, Some(&artifacts.initramfs));
    spec.machine = machine;
    if let Some(config) = config {
        let seed = dir.join("cidata.img");
        cidata::create(&seed, config, "instance-id: boot\n").expect("config drive");
        spec = spec.drive(&seed, true);
    }
    let data = dir.join("data.img");
    disk::create_data(&data, 1024).expect("data disk");
    spec = spec.drive(&data, false).nic(Nic::Uplink { mac: "52:54:00:00:00:01".into(), forwards: Vec::new() });
    Vm::start(&spec).expect("QEMU")
}

/// A worker of a cluster that does not exist.
fn orphan() -> String {
    format!(
        "apiVersion: rk.dev/v1alpha1\nkind: MachineConfig\nrole: worker\nhostname: orphan\ncluster:\n  endpoint: https://10.0.2.2:1\n  \
         token: abcdef.0123456789abcdef\n  caHash: sha256:{}\n",
        "0".repeat(64)
    )
}

/// Waits until everything that `words` lists stands on the console.
fn says(vm: &mut Vm, words: &[&str]) {
    for word in words {
        vm.wait_console(word, limit(20)).unwrap_or_else(|e| panic!("{e}"));
    }
}

#[test]
fn the_image_boots_and_powers_off_when_the_button_is_pressed() {
    for machine in [Machine::Microvm, Machine::Q35] {
        let mut vm = boot("power", machine, Some(&orphan()));
        says(&mut vm, &["orphan"]);
        assert!(vm.shutdown(limit(15)), "{machine:?} did not power off:\n{}", vm.console().tail());
        let text = vm.console().text();
        assert!(!text.contains("Kernel panic"), "{text}");
    }
}

#[test]
fn a_wrong_field_is_named_on_the_console_and_the_node_stays_up() {
    let config =
        format!("{}network:\n  interfaces:\n  - match: {{name: eth0}}\n    dhcp: true\n    mtu: 12\n", orphan());
    let mut vm = boot("field", Machine::Microvm, Some(&config));
    says(&mut vm, &["network.interfaces[0].mtu"]);
    assert!(vm.ended().is_none(), "the machine went down");
    assert!(vm.shutdown(limit(15)), "it did not power off:\n{}", vm.console().tail());
}

#[test]
fn an_unknown_key_is_warned_of_by_name_and_accepted() {
    let mut vm = boot("unknown", Machine::Microvm, Some(&format!("{}colour: blue\n", orphan())));
    says(&mut vm, &["colour", "orphan"]);
}

#[test]
fn text_that_is_no_yaml_is_refused_and_the_node_stays_up() {
    let mut vm = boot("yaml", Machine::Microvm, Some("role: [worker\n"));
    says(&mut vm, &["YAML"]);
    assert!(vm.ended().is_none(), "the machine went down");
}

#[test]
fn without_any_config_the_node_says_so_and_waits() {
    let mut vm = boot("absent", Machine::Microvm, None);
    says(&mut vm, &["no machine config"]);
    assert!(vm.ended().is_none(), "the machine went down");
    assert!(vm.shutdown(limit(15)), "it did not power off:\n{}", vm.console().tail());
}

/// A machine with nothing but its kernel and an initramfs.
fn bare(name: &str) -> VmSpec {
    let artifacts = artifacts();
    let dir = artifacts.work.join("boot").join(name);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("folder");
    VmSpec::new(name, &dir, artifacts.accel, &artifacts.kernel, Some(&artifacts.initramfs))
}

#[test]
fn a_config_comes_from_the_hypervisor_by_fw_cfg() {
    let mut spec = bare("fw-cfg");
    spec.machine = Machine::Q35;
    let config = spec.dir.join("machine.yaml");
    std::fs::write(&config, orphan()).expect("config");
    spec.fw_cfg = Some(config);
    says(&mut Vm::start(&spec).expect("QEMU"), &["config accepted from fw_cfg: orphan"]);
}

#[test]
fn a_config_on_the_command_line_comes_before_one_of_a_drive() {
    let mut spec = bare("command-line");
    let (own, seed) = (spec.dir.join("own.yaml"), spec.dir.join("cidata.img"));
    std::fs::write(&own, orphan()).expect("config");
    let coded = Command::new("base64").arg("--wrap=0").arg(&own).output().expect("base64");
    spec.cmdline.push(format!("rk.config=base64:{}", String::from_utf8_lossy(&coded.stdout)));
    let other = orphan().replace("hostname: orphan", "hostname: other");
    cidata::create(&seed, &other, "instance-id: boot\n").expect("config drive");
    says(
        &mut Vm::start(&spec.drive(&seed, true)).expect("QEMU"),
        &["config accepted from the kernel command line: orphan"],
    );
}

#[test]
fn a_config_that_is_built_into_the_image_comes_before_one_of_the_hypervisor() {
    let mut spec = bare("built-in");
    spec.machine = Machine::Q35;
    let (own, other) = (spec.dir.join("own.yaml"), spec.dir.join("other.yaml"));
    std::fs::write(&own, orphan()).expect("config");
    std::fs::write(&other, orphan().replace("hostname: orphan", "hostname: other")).expect("config");
    let inputs = rk_image::Inputs {
        binaries: artifacts().binaries,
        out: spec.dir.join("image"),
        packer: rk_image::Packer::default(),
        machine_config: Some(own),
    };
    spec.initramfs = Some(rk_image::build(&inputs).expect("image").initramfs);
    spec.fw_cfg = Some(other);
    says(&mut Vm::start(&spec).expect("QEMU"), &["config accepted from the image: orphan"]);
}

#[test]
fn a_config_that_came_with_the_initramfs_is_the_images_own_whatever_its_size() {
    let mut spec = bare("in-initramfs");
    spec.machine = Machine::Q35;
    let (initramfs, other) = (spec.dir.join("initramfs"), spec.dir.join("other.yaml"));
    let plain = std::fs::read(&artifacts().initramfs).expect("initramfs");
    // No command line would hold it.
    let own = format!("{}# {}\n", orphan(), "long ".repeat(1000));
    std::fs::write(&initramfs, rk_image::initramfs::and_config(plain, &own)).expect("initramfs");
    std::fs::write(&other, orphan().replace("hostname: orphan", "hostname: other")).expect("config");
    spec.initramfs = Some(initramfs);
    spec.fw_cfg = Some(other);
    says(&mut Vm::start(&spec).expect("QEMU"), &["config accepted from the image: orphan"]);
}

#[test]
fn a_machine_without_a_data_disk_boots() {
    let artifacts = artifacts();
    let dir = artifacts.work.join("boot").join("diskless");
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("folder");
    let seed = dir.join("cidata.img");
    cidata::create(&seed, &orphan(), "instance-id: boot\n").expect("config drive");
    let spec = VmSpec::new("diskless", &dir, artifacts.accel, &artifacts.kernel, Some(&artifacts.initramfs))
        .drive(&seed, true);
    let mut vm = Vm::start(&spec).expect("QEMU");
    says(&mut vm, &["orphan"]);
}

#[test]
fn a_crash_of_qemu_s_owner_leaves_no_machine_behind() {
    let vm = boot("owned", Machine::Microvm, None);
    let pid = vm.pid();
    assert!(rk_qemu::process::alive(pid));
    drop(vm);
    eventually("the machine to be gone", limit(5), || {
        if rk_qemu::process::alive(pid) { Err("alive".into()) } else { Ok(()) }
    });
}

#[test]
fn two_builds_of_the_image_are_equal_byte_for_byte() {
    let artifacts = artifacts();
    let dir = artifacts.work.join("boot").join("reproducible");
    let _ = std::fs::remove_dir_all(&dir);
    let build = |name: &str| {
        let (binaries, out) = (artifacts.binaries.clone(), dir.join(name));
        let inputs = rk_image::Inputs { binaries, out, packer: rk_image::Packer::default(), machine_config: None };
        let image = rk_image::build(&inputs).expect("image");
        assert!(!image.cached);
        std::fs::read(image.initramfs).expect("initramfs")
    };
    assert!(build("one") == build("two"), "the images differ; compare {}", dir.display());
}

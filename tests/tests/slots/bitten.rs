//! A slot on trial on which the node agent does not live, or whose node is never Ready: the watchdog bites or the time is over, the boot loader
//! counts, and the slot before runs.

use super::{Installed, built, image, uefi};
use rk_qemu::disk::sbin_path;
use rk_qemu::vm::Firmware;
use rk_tests::limit;
use std::process::Command;

/// Where `image/src/media/raw.rs` puts DATA.
const DATA_AT: u64 = 290 << 20;
/// A boot, a minute of patience, and half a minute of the device.
const BITE: u64 = 240;

/// A file in the place of the folder that the agent keeps images in: it ends whenever it is started.
fn spoil_the_image_store(machine: &Installed) {
    let (file, commands) = (machine.dir.join("no-folder"), machine.dir.join("commands"));
    std::fs::write(&file, "no folder").expect("file");
    let text = format!("cd /lib/rk\nunlink images\nwrite {} images\nstat images\n", file.display());
    std::fs::write(&commands, text).expect("commands");
    let disk = format!("{}?offset={DATA_AT}", machine.dir.join("disk.raw").display());
    let output = Command::new("debugfs")
        .args(["-w", "-f"])
        .arg(&commands)
        .arg(disk)
        .env("PATH", sbin_path())
        .output()
        .expect("debugfs, of the package e2fsprogs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("Type: regular"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_slot_on_trial_whose_agent_keeps_ending_is_bitten_until_the_one_before_runs() {
    let mut machine = Installed::worker("bitten", |_| Firmware::Bios);
    machine.spec.watchdog = true;
    machine.start();
    machine.says(&["slot a runs"]);
    machine.answers();
    machine.rkctl(&["node", "upgrade", &image("impatient"), "--no-reboot"]).good();
    machine.rkctl(&["node", "shutdown"]).good();
    machine.ends();
    spoil_the_image_store(&machine);
    for _ in 0..3 {
        machine.start();
        machine.says(&["slot b is on trial", "config accepted"]);
        let mark = machine.mark;
        let starves = machine.vm().wait_console_from(mark, "the watchdog is not fed", limit(BITE));
        starves.unwrap_or_else(|err| panic!("{err}"));
        machine.ends();
        // Neither its end nor the end of its trial was asked for.
        let said = machine.said();
        assert!(!said.contains("reboot asked by") && !said.contains("unmounting"), "{said}");
    }
    machine.start();
    machine.says(&["slot a runs; slot b failed 3 boots and is left alone"]);
    machine.answers();
}

#[test]
fn a_slot_whose_node_is_not_ready_in_time_is_left_after_three_trials_on_uefi() {
    let mut machine = Installed::worker("hasty", uefi);
    machine.start();
    machine.says(&["slot a runs"]);
    machine.answers();
    let hasty = built(&machine, "hasty", |inputs| inputs.cmdline.push_str(" rk.trial=30"));
    machine.rkctl(&["node", "upgrade", &hasty]).good();
    machine.ends();
    for _ in 0..3 {
        machine.start();
        machine.says(&["slot b is on trial", "slot b on trial: the node is not Ready after 30 s"]);
        machine.ends();
    }
    machine.start();
    machine.says(&["slot a runs; slot b failed 3 boots and is left alone"]);
    machine.answers();
}

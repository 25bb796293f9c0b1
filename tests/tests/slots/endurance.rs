//! What a machine must survive often: power that goes in the middle of an upgrade, and being started again and again.
//!
//! `RK_CUTS` and `RK_REBOOTS` say how often; without them a few times, with `RK_LONG` 20 cuts and 100 restarts. `RK_SEED` repeats the
//! moments of the cuts of an earlier run.

use super::{Installed, image, uefi};
use rk_qemu::vm::Firmware;
use rk_tests::number;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Random numbers that can be had again: xorshift.
struct Moments(u64);

impl Moments {
    fn new() -> Moments {
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.as_nanos() as u64);
        let asked = std::env::var("RK_SEED").ok().and_then(|text| text.parse().ok());
        Moments(asked.unwrap_or_else(now).max(1))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

fn survives_cuts(name: &str, firmware: fn(&Path) -> Firmware) {
    /// Within this an upgrade ends, in milliseconds; it differs by host.
    const SPAN: u64 = 12_000;
    let cuts = number("RK_CUTS", 4, 20) as u64;
    let mut moments = Moments::new();
    println!("RK_SEED={}", moments.0);
    let mut machine = Installed::worker(name, firmware);
    for cut in 0..cuts {
        machine.start();
        machine.says(&["rk: slot "]);
        machine.answers();
        let (operator, node, image) = (machine.operator.clone(), machine.node.to_string(), image("next"));
        let upgrade =
            std::thread::spawn(move || operator.run(&["-n", &node, "node", "upgrade", &image, "--no-reboot"]));
        // Anywhere in it, one in each part of it: erasing, receiving, writing, reading back, the boot loader's files. The moment itself
        // is what varies; whatever it hits must be survived.
        let moment = SPAN * cut / cuts + moments.next() % (SPAN / cuts).max(1);
        println!("cut {cut} after {moment} ms");
        std::thread::sleep(Duration::from_millis(moment));
        machine.vm().kill();
        let _ = upgrade.join();
    }
    machine.start();
    machine.says(&["rk: slot "]);
    machine.answers();
    // Unless the last one was whole in spite of its cut, and runs: another goes through.
    if machine.said().contains("slot a runs") {
        machine.starts_again_by(&["node", "upgrade", &image("next")]);
        machine.says(&["slot b is on trial"]);
    }
}

#[test]
fn an_upgrade_that_is_cut_off_leaves_a_machine_that_boots() {
    survives_cuts("power-cut", |_| Firmware::Bios);
}

#[test]
fn an_upgrade_that_is_cut_off_leaves_a_machine_that_boots_on_uefi() {
    survives_cuts("power-cut-uefi", uefi);
}

#[test]
fn a_machine_starts_as_well_the_last_time_as_the_first() {
    let reboots = number("RK_REBOOTS", 3, 100);
    let mut machine = Installed::worker("reboots", |_| Firmware::Bios);
    for _ in 0..reboots {
        machine.start();
        machine.says(&["slot a runs", "config accepted"]);
        machine.answers();
        machine.rkctl(&["node", "reboot"]).good();
        machine.ends();
        assert!(!machine.said().contains("Kernel panic"), "{}", machine.said());
    }
    machine.start();
    machine.answers();
    // Nothing piles up: the file systems were left clean, and one count is all that grew.
    let counted = machine.rkctl(&["node", "read", "/run/rk/state/boots"]);
    assert_eq!(counted.out.trim(), (reboots + 1).to_string(), "{counted:?}");
    let log = machine.rkctl(&["node", "dmesg", "--tail", "2000"]).good();
    assert!(!log.contains("recovery complete"), "a file system was not left clean:\n{log}");
}

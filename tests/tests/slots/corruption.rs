//! Bits that flip in a slot that was good once: the other slot runs, and the machine tells why.

use super::{API, BOOT, Installed, artifacts, image, uefi};
use rk_qemu::disk::spoil_file;
use rk_qemu::vm::Firmware;
use rk_tests::{eventually, limit};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Where `image/src/media/raw.rs` puts the EFI partition and the slots.
const ESP: u64 = 2 << 20;
const ESP_BYTES: usize = 96 << 20;
const SLOT_A: u64 = 98 << 20;
const SLOT_B: u64 = 162 << 20;
const BLOCK: u64 = 4096;
/// erofs' superblock, and its number of blocks within.
const SUPERBLOCK: u64 = 1024;
const BLOCKS_AT: u64 = SUPERBLOCK + 36;

fn disk(machine: &Installed) -> File {
    OpenOptions::new().read(true).write(true).open(machine.dir.join("disk.raw")).expect("disk")
}

/// Turns a bit round; a second time turns it back.
fn flip(file: &File, at: u64) {
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("read");
    file.write_all_at(&[byte[0] ^ 1], at).expect("write");
}

/// A bit in each block of a MiB in the middle of the root: the largest program, of which some is needed soon and none before PID 1 runs.
fn flip_what_is_read_later(file: &File, slot: u64) {
    let mut blocks = [0; 4];
    file.read_exact_at(&mut blocks, slot + BLOCKS_AT).expect("read");
    let middle = u64::from(u32::from_le_bytes(blocks)) / 2;
    for block in middle..middle + 256 {
        flip(file, slot + block * BLOCK + 100);
    }
}

/// A machine whose two slots were good, and which runs B.
fn both_good(name: &str, firmware: fn(&Path) -> Firmware) -> Installed {
    let mut machine = Installed::new(name, firmware);
    machine.spec.memory_mib = 1536;
    machine.operator.run(&["config", "gen", "demo", &format!("https://10.0.2.15:{API}")]).good();
    machine.start();
    let fingerprint = machine.fingerprint();
    machine.rkctl(&["node", "apply", "--insecure", "--fingerprint", &fingerprint, "control-plane.yaml"]).good();
    machine.answers();
    upgraded(&mut machine);
    machine
}

/// Slot B takes the next image and is good; then the machine is off.
fn upgraded(machine: &mut Installed) {
    machine.starts_again_by(&["node", "upgrade", &image("next"), "--no-drain"]);
    machine.says(&["slot b is on trial", "slot b is good: the node is Ready"]);
    switch_off(machine);
}

fn switch_off(machine: &mut Installed) {
    machine.answers();
    machine.rkctl(&["node", "shutdown", "--no-drain"]).good();
    machine.ends();
}

/// Waits until rkctl shows an event.
fn tells(machine: &Installed, words: &str) {
    eventually("the event", limit(BOOT), || {
        let outcome = machine.rkctl(&["node", "events"]);
        if outcome.out.contains(words) { Ok(()) } else { Err(outcome.out + &outcome.err) }
    });
}

#[test]
fn a_good_slot_with_bits_that_flipped_is_left_while_it_runs_and_not_gone_back_to_on_bios() {
    let mut machine = both_good("corrupt-bios", |_| Firmware::Bios);
    flip_what_is_read_later(&disk(&machine), SLOT_B);
    machine.start();
    machine.says(&["slot b runs", "a slot that is left for the other one: the root is corrupted"]);
    machine.ends();
    machine.start();
    machine.says(&["slot a runs", "slot b was left: the root is corrupted"]);
    tells(&machine, "slot b was left: the root is corrupted");
    switch_off(&mut machine);
    // Now neither is whole: the machine says so, and stays.
    flip(&disk(&machine), SLOT_A + SUPERBLOCK + 8);
    machine.start();
    machine.says(&["corrupted", "cannot boot: mounting the root image", "nothing else boots: slot b was left itself"]);
}

#[test]
fn a_good_slot_that_cannot_be_mounted_is_left_before_pid_1_runs_on_uefi() {
    let mut machine = both_good("corrupt-uefi", uefi);
    let root = rk_image::media::Installed::open(&artifacts().media.join("next/rk.raw")).expect("the image").root;
    // By this block a slot is known: without it no partition seems to hold the root, and only the boot loader's files tell which did.
    flip(&disk(&machine), SLOT_B + root.tree_at());
    machine.start();
    machine.says(&["finding the root", "the other slot is tried next"]);
    machine.ends();
    machine.start();
    machine.says(&["slot a runs", "slot b was left: mounting the root image: finding the root"]);
    tells(&machine, "slot b was left: mounting the root image");
    // An upgrade makes the slot whole, and the note is gone; a block that is needed to mount it is bad next.
    machine.answers();
    upgraded(&mut machine);
    flip(&disk(&machine), SLOT_B + SUPERBLOCK + 8);
    machine.start();
    machine.says(&["corrupted", "cannot boot: mounting the root image", "the other slot is tried next"]);
    machine.ends();
    machine.start();
    machine.says(&["slot a runs", "slot b was left: mounting the root image: mount erofs"]);
}

#[test]
fn a_good_slot_whose_kernel_or_initramfs_went_bad_is_passed_over_until_an_upgrade_makes_it_whole_on_bios() {
    let mut machine = both_good("unloadable-bios", |_| Firmware::Bios);
    spoil_file(&machine.dir.join("disk.raw"), ESP, ESP_BYTES, "rk/b/vmlinuz").expect("the kernel of slot b");
    for _ in 0..2 {
        machine.start();
        machine.says(&["slot a runs", "slot b was left: the boot loader could not load its kernel"]);
        switch_off(&mut machine);
    }
    machine.start();
    tells(&machine, "slot b was left: the boot loader could not load");
    machine.answers();
    upgraded(&mut machine);
    machine.start();
    machine.says(&["slot b runs"]);
    switch_off(&mut machine);
    // GRUB loads any bytes as an initramfs: what they are is told by their sum alone.
    spoil_file(&machine.dir.join("disk.raw"), ESP, ESP_BYTES, "rk/b/initrd").expect("the initramfs of slot b");
    machine.start();
    machine.says(&["slot a runs", "slot b was left: the boot loader could not load its kernel and initramfs"]);
}

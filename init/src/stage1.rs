//! The first stage, in the initramfs: mount the root image, show this program in its place there, move there, run it anew.
//!
//! The image has an empty file in that place: a program that is in memory already need not lie in the root a second time, and no block of
//! a disk can take it away from a machine that runs.
//!
//! Leaving the kernel's first root is not only tidy: `pivot_root`, which every container needs, fails on it.

use crate::{console, discover, failure, integrity, root, slots};
use rk_sys::MountFlags;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

const NEW_ROOT: &str = "/sysroot";
/// This program in the initramfs.
const OWN: &str = "/init";
/// A machine config in the initramfs, of media that were made with one.
const CONFIG: &str = "/machine.yaml";
/// Environment variable that tells the second stage when the first one began, in milliseconds since boot.
pub const BEGAN: &str = "RK_PID1_MILLIS";

/// Whether this is the initramfs.
pub fn applies() -> bool {
    root::is_elsewhere()
}

/// Goes to the root image; returns only when that failed for good.
pub fn run() -> ExitCode {
    let began = rk_sys::boot_millis();
    if let Err(err) =
        rk_sys::mount("dev", "/dev", "devtmpfs", MountFlags { nosuid: true, ..MountFlags::default() }, "mode=0755")
    {
        // The initramfs carries /dev/console itself, so this can still be read.
        console::line(&format!("rk: {}", console::chain(&err)));
    }
    console::take_console();
    console::line(&format!("rk: pid 1 up {began} ms"));
    if let Err(source) = fs::create_dir_all(NEW_ROOT) {
        return failure::give_up("making the place for the root image", &source);
    }
    let partition = match root::mount(NEW_ROOT) {
        Ok(partition) => partition,
        Err(err) => return integrity::cannot_boot("mounting the root image", &err),
    };
    let flags = MountFlags { read_only: true, nosuid: true, nodev: true, ..MountFlags::default() };
    if let Err(err) = rk_sys::bind_file(OWN, &format!("{NEW_ROOT}{}", root::PROGRAM), flags) {
        return integrity::cannot_boot("showing PID 1 in the root image", &err);
    }
    show_config();
    if let Err(err) = rk_sys::mount_point("/dev", &format!("{NEW_ROOT}/dev")) {
        return failure::give_up("moving /dev", &err);
    }
    // Nobody will look the name up again. The root image lives on as long as it is mounted, and this program has its place there.
    let _ = fs::remove_file(root::IMAGE);
    if let Err(err) = rk_sys::move_root(NEW_ROOT) {
        return failure::give_up("entering the root image", &err);
    }
    let device = partition.map(|partition| (slots::DEVICE, partition));
    let err = Command::new(root::PROGRAM).env_clear().env(BEGAN, began.to_string()).envs(device).exec();
    failure::give_up(root::PROGRAM, &err)
}

/// Shows the config that lies beside this program, if one does, in its place in the root. A machine that cannot have it starts all the
/// same: it looks elsewhere, or waits for one.
fn show_config() {
    if !Path::new(CONFIG).exists() {
        return;
    }
    let flags = MountFlags { read_only: true, nosuid: true, nodev: true, noexec: true, ..MountFlags::default() };
    if let Err(err) = rk_sys::bind_file(CONFIG, &format!("{NEW_ROOT}{}", discover::BUILT_IN), flags) {
        console::line(&format!("rk: {}", console::chain(&err)));
    }
}

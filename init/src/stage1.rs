//! The first stage, in the initramfs: mount the root image, move there, run PID 1 anew from it.
//!
//! Leaving the kernel's first root is not only tidy: `pivot_root`, which every container needs, fails on it.

use crate::{console, failure, integrity, root, slots};
use rk_sys::MountFlags;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

const NEW_ROOT: &str = "/sysroot";
/// PID 1 inside the root image.
const INIT: &str = "/sbin/rk-init";
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
    // A bad block among PID 1's own pages would end PID 1, and so the kernel, at every boot: it is found here, where it is an error.
    let own = partition.as_ref().map_or(Ok(()), |_| root::read_whole(&format!("{NEW_ROOT}{INIT}")));
    if let Err(err) = own {
        return integrity::cannot_boot("reading PID 1 from the root image", &err);
    }
    if let Err(err) = rk_sys::mount_point("/dev", &format!("{NEW_ROOT}/dev")) {
        return failure::give_up("moving /dev", &err);
    }
    free_initramfs();
    if let Err(err) = rk_sys::move_root(NEW_ROOT) {
        return failure::give_up("entering the root image", &err);
    }
    let device = partition.map(|partition| (slots::DEVICE, partition));
    let err = Command::new(INIT).env_clear().env(BEGAN, began.to_string()).envs(device).exec();
    failure::give_up(INIT, &err)
}

/// Gives back the memory of names that nobody will look up again. The root image lives on as long as it is mounted.
fn free_initramfs() {
    for name in [root::IMAGE, "/init"] {
        let _ = fs::remove_file(name);
    }
}

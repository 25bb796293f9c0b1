//! The first stage, in the initramfs: mount the root image, move there, run PID 1 anew from it.
//!
//! Leaving the kernel's first root is not only tidy: `pivot_root`, which every container needs, fails on it.

use crate::{console, failure};
use rk_sys::{MountFlags, SysError};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

/// The root image inside the initramfs.
const ROOT_IMAGE: &str = "/root.erofs";
const NEW_ROOT: &str = "/sysroot";
/// PID 1 inside the root image.
const INIT: &str = "/sbin/rk-init";
/// Environment variable that tells the second stage when the first one began, in milliseconds since boot.
pub const BEGAN: &str = "RK_PID1_MILLIS";

/// Whether this is the initramfs.
pub fn applies() -> bool {
    Path::new(ROOT_IMAGE).exists()
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
    if let Err(err) = mount_root() {
        return failure::give_up("mounting the root image", &err);
    }
    if let Err(err) = rk_sys::mount_point("/dev", &format!("{NEW_ROOT}/dev")) {
        return failure::give_up("moving /dev", &err);
    }
    free_initramfs();
    if let Err(err) = rk_sys::move_root(NEW_ROOT) {
        return failure::give_up("entering the root image", &err);
    }
    let err = Command::new(INIT).env_clear().env(BEGAN, began.to_string()).exec();
    failure::give_up(INIT, &err)
}

/// From the file itself when the kernel can, else through a loop device.
fn mount_root() -> Result<(), SysError> {
    if let Err(source) = fs::create_dir_all(NEW_ROOT) {
        return Err(SysError { call: "mkdir", object: NEW_ROOT.to_owned(), source });
    }
    let flags = MountFlags { read_only: true, nodev: true, ..MountFlags::default() };
    let Err(direct) = rk_sys::mount(ROOT_IMAGE, NEW_ROOT, "erofs", flags, "") else { return Ok(()) };
    console::line(&format!("rk: {}; trying a loop device", console::chain(&direct)));
    let (device, _attached) = rk_sys::attach_loop(Path::new(ROOT_IMAGE))?;
    rk_sys::mount(&device, NEW_ROOT, "erofs", flags, "")
}

/// Gives back the memory of names that nobody will look up again. The root image lives on as long as it is mounted.
fn free_initramfs() {
    for name in [ROOT_IMAGE, "/init"] {
        let _ = fs::remove_file(name);
    }
}

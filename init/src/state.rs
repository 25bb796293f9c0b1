//! `STATE`: the small disk of what outlives everything else, and its stand-in.

use crate::console::Journal;
use crate::datadisk;
use crate::mounts::make_dir;
use rk_config::STATE_DIR;
use rk_sys::MountFlags;
use std::os::unix::fs::symlink;

/// Label of the ext4 file system.
const LABEL: &str = "RK-STATE";
/// Without such a disk, a folder of the data disk; without that one too, memory.
const STAND_IN: &str = "/var/lib/rk/state";

/// Mounts it; answers whether there is such a disk.
pub fn mount(journal: &mut Journal) -> bool {
    let disk = datadisk::find(journal, |found| found.fstype == "ext4" && found.label == LABEL).into_iter().next();
    if let Some(disk) = disk {
        make_dir(journal, STATE_DIR, 0o700);
        let flags = MountFlags { nosuid: true, nodev: true, noexec: true, noatime: true, read_only: false };
        let path = disk.path.display().to_string();
        match rk_sys::mount(&path, STATE_DIR, "ext4", flags, "") {
            Ok(()) => {
                journal.say(format_args!("the machine's state is on {path}"));
                return true;
            }
            Err(err) => journal.failed("mounting the state disk", &err),
        }
        // An empty mount point would hide the stand-in.
        let _ = std::fs::remove_dir(STATE_DIR);
    }
    false
}

/// Without it. After `/var` is mounted.
pub fn stand_in(journal: &mut Journal) {
    make_dir(journal, STAND_IN, 0o700);
    journal.check("standing in for the state disk", symlink(STAND_IN, STATE_DIR));
}

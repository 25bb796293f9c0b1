//! The config of a machine-to-be: put on the state partition of a disk that was just installed.

use crate::console::chain;
use crate::discover;
use crate::mounts::make_dir;
use crate::{console::Journal, services};
use rk_sys::MountFlags;
use std::fs::OpenOptions;
use std::path::Path;

const MOUNT: &str = "/run/rk/seed";

/// Has the kernel read the disk's table anew, and puts `config` where the machine looks for it first.
pub fn seed(disk: &str, config: &str) -> Result<(), String> {
    let file = OpenOptions::new().read(true).open(disk).map_err(|err| format!("{disk}: {err}"))?;
    rk_sys::reread_partitions(&file, disk).map_err(|err| chain(&err))?;
    let partitions = rk_sys::partitions().map_err(|err| chain(&err))?;
    let found = partitions.iter().find(|p| p.disk == Path::new(disk) && p.name == rk_slots::STATE);
    let Some(state) = found else { return Err(format!("{disk} has no partition {}", rk_slots::STATE)) };
    make_dir(&mut Journal::default(), MOUNT, 0o700);
    let flags = MountFlags { nosuid: true, nodev: true, noexec: true, ..MountFlags::default() };
    rk_sys::mount(&state.path.display().to_string(), MOUNT, "ext4", flags, "").map_err(|err| chain(&err))?;
    let path = Path::new(MOUNT).join(discover::KEPT);
    let written = services::write_new(&path, config, 0o600).map_err(|err| format!("writing {}: {err}", path.display()));
    written.and(rk_sys::unmount(Path::new(MOUNT)).map_err(|err| chain(&err)))
}

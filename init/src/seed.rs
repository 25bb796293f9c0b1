//! The config of a machine-to-be: put on the state partition of a disk that was just installed.

use crate::console::chain;
use crate::crypt::{self, STATE, Volume};
use crate::discover;
use crate::mounts::make_dir;
use crate::{console::Journal, services};
use rk_config::MachineConfig;
use rk_sys::MountFlags;
use std::fs::OpenOptions;
use std::path::Path;

const MOUNT: &str = "/run/rk/seed";

/// While it is written.
const SEEDED: Volume = Volume { name: "rk-seed", ..STATE };

/// Has the kernel read the disk's table anew, and puts `config` where the machine looks for it first: encrypted, when it asks for
/// that, by this machine's TPM.
pub fn seed(disk: &str, config: &MachineConfig) -> Result<(), String> {
    let text = rk_config::to_yaml(config).map_err(|err| err.to_string())?;
    let file = OpenOptions::new().read(true).open(disk).map_err(|err| format!("{disk}: {err}"))?;
    rk_sys::reread_partitions(&file, disk).map_err(|err| chain(&err))?;
    let partitions = rk_sys::partitions().map_err(|err| chain(&err))?;
    let found = crypt::of_disk(&partitions, Path::new(disk), &STATE);
    let Some(state) = found else { return Err(format!("{disk} has no partition {}", rk_slots::STATE)) };
    let encryption = &config.disks.encryption;
    if STATE.wanted(encryption).is_none() {
        return write(&state, &text);
    }
    let _ = crypt::close(&SEEDED);
    crypt::format(&SEEDED, &state, encryption).map_err(|why| format!("STATE cannot be encrypted: {why}"))?;
    let mapped = crypt::opened(&SEEDED).ok_or("the encrypted STATE was not opened");
    let written = mapped.map_err(str::to_owned).and_then(|mapped| write(&mapped, &text));
    written.and(crypt::close(&SEEDED))
}

fn write(state: &Path, text: &str) -> Result<(), String> {
    make_dir(&mut Journal::default(), MOUNT, 0o700);
    let flags = MountFlags { nosuid: true, nodev: true, noexec: true, ..MountFlags::default() };
    rk_sys::mount(&state.display().to_string(), MOUNT, "ext4", flags, "").map_err(|err| chain(&err))?;
    let path = Path::new(MOUNT).join(discover::KEPT);
    let written = services::write_new(&path, text, 0o600).map_err(|err| format!("writing {}: {err}", path.display()));
    written.and(rk_sys::unmount(Path::new(MOUNT)).map_err(|err| chain(&err)))
}

//! Where the root image lies: a file in the initramfs, or a verified partition.

use crate::console;
use rk_slots::{Root, Slot, verity};
use rk_sys::{MountFlags, SysError, Verity};
use std::fs::{self, File};
use std::io::{Error, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The root image inside the initramfs.
pub const IMAGE: &str = "/root.erofs";
/// This program in the root: an empty file of the image, in whose place the first stage shows its own program, from memory.
pub const PROGRAM: &str = "/sbin/rk-init";
/// Controllers and disks are found one after the other, slow ones within seconds.
const DISKS_LIMIT: u64 = 60_000;
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How often a step is tried that fails for another reason than a wrong block, and the time between.
const TRIES: u32 = 3;
const BETWEEN: Duration = Duration::from_secs(1);
/// Device mapper's name of a verified root.
pub const MAPPED: &str = "rk-root";

/// Whether this process runs in the initramfs.
pub fn is_elsewhere() -> bool {
    Path::new(IMAGE).exists() || !Path::new(PROGRAM).exists()
}

/// Mounts the root at `target`; answers the partition that it lies in, if it does.
pub fn mount(target: &str) -> Result<Option<PathBuf>, SysError> {
    let flags = MountFlags { read_only: true, nodev: true, ..MountFlags::default() };
    if !Path::new(IMAGE).exists() {
        let (mapped, partition) = verified()?;
        patiently(|| rk_sys::mount(&mapped, target, "erofs", flags, ""))?;
        return Ok(Some(partition));
    }
    // From the file itself when the kernel can, else through a loop device.
    let Err(direct) = rk_sys::mount(IMAGE, target, "erofs", flags, "") else { return Ok(None) };
    console::line(&format!("rk: {}; trying a loop device", console::chain(&direct)));
    let (device, _attached) = rk_sys::attach_loop(Path::new(IMAGE))?;
    rk_sys::mount(&device, target, "erofs", flags, "").map(|()| None)
}

/// Tries three times in three seconds while no block was found wrong: a disk that is slow to wake is no reason to leave a sound slot.
fn patiently(mut step: impl FnMut() -> Result<(), SysError>) -> Result<(), SysError> {
    for _ in 1..TRIES {
        match step() {
            Err(_) if rk_sys::verity_is_sound(MAPPED).unwrap_or(false) => std::thread::sleep(BETWEEN),
            done => return done,
        }
    }
    step()
}

/// The device of the root that the command line names, checked block by block as it is read, and the partition below.
fn verified() -> Result<(String, PathBuf), SysError> {
    for (fstype, target) in [("proc", "/proc"), ("sysfs", "/sys")] {
        let flags = MountFlags { nosuid: true, nodev: true, noexec: true, ..MountFlags::default() };
        rk_sys::mount(fstype, target, fstype, flags, "")?;
    }
    let line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let opened = Root::of_cmdline(&line)
        .ok_or_else(|| SysError {
            call: "reading",
            object: "rk.root".to_owned(),
            source: Error::new(ErrorKind::InvalidInput, "no <root hash>,<blocks> on the kernel command line"),
        })
        .and_then(|root| {
            let partition = wait_for(&root)?;
            let verity = Verity { root_hash: root.hash, blocks: root.blocks, salt: root.salt };
            Ok((rk_sys::open_verity(MAPPED, &partition, &verity)?, partition))
        });
    for target in ["/sys", "/proc"] {
        rk_sys::unmount(Path::new(target))?;
    }
    opened
}

/// The slot that holds this root: its topmost hash block is the one whose digest is the root hash. Data below it may still be
/// wrong, which reading them tells.
fn wait_for(root: &Root) -> Result<PathBuf, SysError> {
    let deadline = rk_sys::boot_millis() + DISKS_LIMIT;
    loop {
        let slots = rk_sys::partitions()?.into_iter().filter(|partition| Slot::of_partition(&partition.name).is_some());
        if let Some(found) = slots.into_iter().find(|partition| holds(&partition.path, root)) {
            return Ok(found.path);
        }
        if rk_sys::boot_millis() > deadline {
            let text = "no slot of any disk has it: is the disk's controller supported, was the slot overwritten?";
            let source = Error::new(ErrorKind::NotFound, text);
            return Err(SysError { call: "finding the root", object: root.hash.clone(), source });
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// The disk that has a slot with this root; `/sys` is mounted.
pub fn disk_of(root: &Root) -> Option<PathBuf> {
    let mut slots = rk_sys::partitions().ok()?.into_iter().filter(|node| Slot::of_partition(&node.name).is_some());
    slots.find(|partition| holds(&partition.path, root)).map(|partition| partition.disk)
}

fn holds(partition: &Path, root: &Root) -> bool {
    let mut top = [0; verity::BLOCK];
    let read = File::open(partition).and_then(|file| file.read_exact_at(&mut top, root.tree_at()));
    read.is_ok() && hex::encode(verity::digest(&root.salt_bytes(), &top)) == root.hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_known_by_the_top_of_its_hash_tree() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("slot");
        let data = vec![7; 200 * verity::BLOCK];
        let tree = verity::tree(&data, &[1]);
        fs::write(&path, [data, tree.bytes].concat()).unwrap();
        let root = Root { hash: hex::encode(tree.root), blocks: tree.blocks, salt: "01".to_owned() };
        assert!(holds(&path, &root));
        assert!(!holds(&path, &Root { hash: "0".repeat(64), ..root.clone() }));
        assert!(!holds(&path, &Root { salt: "02".to_owned(), ..root.clone() }));
        assert!(!holds(&path, &Root { blocks: 10_000, ..root }));
    }
}

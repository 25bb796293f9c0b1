//! Where the root image lies: a file in the initramfs, or a verified partition.

use crate::console;
use rk_sys::{MountFlags, SysError, Verity};
use std::fs;
use std::io::{Error, ErrorKind};
use std::path::Path;
use std::time::Duration;

/// The root image inside the initramfs.
pub const IMAGE: &str = "/root.erofs";
/// On the kernel command line: `rk.root=<root hash>,<blocks>` asks for the partition of this hash.
const KEY: &str = "rk.root";
/// Controllers and disks are found one after the other, slow ones within seconds.
const DISKS_LIMIT: u64 = 60_000;
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Whether this process runs in the initramfs.
pub fn is_elsewhere() -> bool {
    Path::new(IMAGE).exists() || !Path::new("/sbin/rk-init").exists()
}

/// Mounts the root at `target`.
pub fn mount(target: &str) -> Result<(), SysError> {
    let flags = MountFlags { read_only: true, nodev: true, ..MountFlags::default() };
    if !Path::new(IMAGE).exists() {
        return rk_sys::mount(&verified()?, target, "erofs", flags, "");
    }
    // From the file itself when the kernel can, else through a loop device.
    let Err(direct) = rk_sys::mount(IMAGE, target, "erofs", flags, "") else { return Ok(()) };
    console::line(&format!("rk: {}; trying a loop device", console::chain(&direct)));
    let (device, _attached) = rk_sys::attach_loop(Path::new(IMAGE))?;
    rk_sys::mount(&device, target, "erofs", flags, "")
}

/// The device of the slot that the command line names, checked block by block as it is read.
fn verified() -> Result<String, SysError> {
    let failed = |call, object: &str, text: &str| SysError {
        call,
        object: object.to_owned(),
        source: Error::new(ErrorKind::InvalidInput, text),
    };
    for (fstype, target) in [("proc", "/proc"), ("sysfs", "/sys")] {
        let flags = MountFlags { nosuid: true, nodev: true, noexec: true, ..MountFlags::default() };
        rk_sys::mount(fstype, target, fstype, flags, "")?;
    }
    let line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let slot = rk_config::cmdline_value(&line, KEY).and_then(parse);
    let device = slot
        .ok_or_else(|| failed("reading", "rk.root", "no <root hash>,<blocks> on the kernel command line"))
        .and_then(|verity| Ok((wait_for(&slot_name(&verity.root_hash))?, verity)))
        .and_then(|(device, verity)| rk_sys::open_verity("rk-root", &device, &verity));
    for target in ["/sys", "/proc"] {
        rk_sys::unmount(Path::new(target))?;
    }
    device
}

/// The partition of a root by the first half of its hash: a name in a partition table has room for that.
fn slot_name(root_hash: &str) -> String {
    format!("rk-{}", root_hash.get(..32).unwrap_or(root_hash))
}

fn parse(value: &str) -> Option<Verity> {
    let (hash, blocks) = value.split_once(',')?;
    let sound = hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase());
    let blocks = blocks.parse().ok().filter(|blocks| *blocks > 0)?;
    sound.then(|| Verity { root_hash: hash.to_owned(), blocks })
}

fn wait_for(name: &str) -> Result<std::path::PathBuf, SysError> {
    let deadline = rk_sys::boot_millis() + DISKS_LIMIT;
    loop {
        if let Some(found) = rk_sys::partitions()?.into_iter().find(|partition| partition.name == name) {
            return Ok(found.path);
        }
        if rk_sys::boot_millis() > deadline {
            let source = Error::new(
                ErrorKind::NotFound,
                "no disk has it: is the disk's controller supported, was the slot overwritten?",
            );
            return Err(SysError { call: "finding partition", object: name.to_owned(), source });
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_named_by_hash_and_size_and_nothing_else_will_do() {
        let hash = "0123456789abcdef".repeat(4);
        let verity = parse(&format!("{hash},3200")).unwrap();
        assert_eq!(
            (slot_name(&verity.root_hash).as_str(), verity.blocks),
            ("rk-0123456789abcdef0123456789abcdef", 3200)
        );
        for bad in [
            hash.clone(),
            format!("{hash},0"),
            format!("{hash},x"),
            format!("{},1", hash.to_uppercase()),
            ",1".to_owned(),
        ] {
            assert_eq!(parse(&bad), None, "{bad}");
        }
    }
}

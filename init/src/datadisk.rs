//! `/var`: the disk that is labelled `RK-DATA`, else memory.

use crate::console::Journal;
use crate::grow;
use crate::mounts::make_dir;
use rk_sys::{BlockDevice, MountFlags, Superblock};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::{fs, io};

/// Label of the ext4 file system that holds images, pods and logs.
const LABEL: &str = "RK-DATA";
/// Where the image has the network plugins of its own, as links.
const OWN_PLUGINS: &str = "/usr/libexec/cni";
/// Where installers put those of other networks, and where these look for the usual ones; `/opt/cni/bin` by its other name.
const PLUGINS: &str = "/var/opt/cni/bin";
const DIRS: [(&str, u32); 14] = [
    ("/var/lib/rk", 0o700),
    ("/var/lib/rk/credential-providers", 0o755),
    ("/var/lib/rk-control", 0o700),
    ("/var/lib/kubelet", 0o700),
    ("/var/lib/cni/bin", 0o755),
    ("/var/log/rk", 0o755),
    ("/var/log/pods", 0o755),
    ("/var/log/containers", 0o755),
    ("/var/tmp", 0o1777),
    ("/var/cache", 0o755),
    // What the root's links `/opt`, `/mnt`, `/srv` and `/usr/libexec/kubernetes` lead to.
    (PLUGINS, 0o755),
    ("/var/mnt", 0o755),
    ("/var/srv", 0o755),
    ("/var/libexec/kubernetes", 0o755),
];

/// Mounts `/var` and makes what everyone expects there; answers whether it is a disk. None is ever formatted here: it might be
/// the wrong one.
pub fn mount(journal: &mut Journal) -> bool {
    let disk = mount_disk(journal);
    if disk {
        make_dirs(journal);
    } else {
        stand_in(journal);
    }
    disk
}

/// Memory in its place.
pub fn stand_in(journal: &mut Journal) {
    let flags = MountFlags { nodev: true, ..MountFlags::default() };
    journal.check("mounting", rk_sys::mount("tmpfs", "/var", "tmpfs", flags, "mode=0755,size=75%"));
    make_dirs(journal);
}

/// Makes what everyone expects in `/var`.
pub fn make_dirs(journal: &mut Journal) {
    for (dir, mode) in DIRS {
        make_dir(journal, dir, mode);
    }
    let _ = symlink("/run", "/var/run");
    let _ = symlink("/run/lock", "/var/lock");
    journal.check("showing the network plugins", show_plugins(Path::new(OWN_PLUGINS), Path::new(PLUGINS)));
}

/// Links the plugins of `from` in `to`, but where another has their name: what a network has installed is its own to look for.
fn show_plugins(from: &Path, to: &Path) -> io::Result<()> {
    for plugin in fs::read_dir(from)? {
        let plugin = plugin?;
        let place = to.join(plugin.file_name());
        if place.symlink_metadata().is_err() {
            symlink(fs::read_link(plugin.path())?, place)?;
        }
    }
    Ok(())
}

fn mount_disk(journal: &mut Journal) -> bool {
    let Some(device) = find(journal, |found| found.fstype == "ext4" && found.label == LABEL).into_iter().next() else {
        journal.say("/var is in memory: no disk is labelled RK-DATA");
        return false;
    };
    let flags = MountFlags { nodev: true, noatime: true, ..MountFlags::default() };
    let path = device.path.display().to_string();
    grow::partition(journal, &device.path);
    match rk_sys::mount(&path, "/var", "ext4", flags, "") {
        Ok(()) => {
            journal.say(format_args!("/var is on {path}"));
            grow::file_system(journal, &device.path, Path::new("/var"));
            true
        }
        Err(err) => {
            journal.failed("mounting the data disk", &err);
            journal.say("/var is in memory: nothing outlives a reboot until the data disk is repaired");
            false
        }
    }
}

/// All block devices whose superblock satisfies `wanted`; one that cannot be read is reported and passed over.
pub fn find(journal: &mut Journal, wanted: impl Fn(&Superblock) -> bool) -> Vec<BlockDevice> {
    let devices = match rk_sys::block_devices() {
        Ok(devices) => devices,
        Err(err) => {
            journal.failed("listing disks", &err);
            return Vec::new();
        }
    };
    let mut found = Vec::new();
    for device in devices {
        match rk_sys::read_superblock(&device.path) {
            Ok(Some(superblock)) if wanted(&superblock) => found.push(device),
            Ok(_) => {}
            Err(err) => journal.failed("looking at a disk", &err),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_of_the_image_are_shown_and_others_keep_their_place() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("own"), dir.path().join("bin"));
        fs::create_dir(&from).unwrap();
        fs::create_dir(&to).unwrap();
        for name in ["bridge", "host-local"] {
            symlink("/bin/rk", from.join(name)).unwrap();
        }
        fs::write(to.join("host-local"), "another").unwrap();
        for _ in 0..2 {
            show_plugins(&from, &to).unwrap();
            assert_eq!(fs::read_link(to.join("bridge")).unwrap(), Path::new("/bin/rk"));
            assert_eq!(fs::read(to.join("host-local")).unwrap(), b"another");
        }
    }
}

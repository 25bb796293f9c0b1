//! What is mounted where, as a table.

use crate::console::Journal;
use rk_sys::MountFlags;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::Path;

/// One row.
struct Row {
    fstype: &'static str,
    target: &'static str,
    flags: MountFlags,
    data: &'static str,
    /// The kernel or machine may lack it.
    optional: bool,
}

const PLAIN: MountFlags = MountFlags { read_only: false, nosuid: true, nodev: true, noexec: true, noatime: false };
const PROGRAMS: MountFlags = MountFlags { noexec: false, ..PLAIN };
const TERMINALS: MountFlags = MountFlags { nodev: false, ..PLAIN };

const fn row(fstype: &'static str, target: &'static str, flags: MountFlags, data: &'static str) -> Row {
    Row { fstype, target, flags, data, optional: false }
}

const fn maybe(fstype: &'static str, target: &'static str) -> Row {
    Row { fstype, target, flags: PLAIN, data: "", optional: true }
}

/// In order. `/dev` comes along from the first stage; `/var` is [`crate::datadisk`]'s.
const TABLE: [Row; 16] = [
    row("proc", "/proc", PLAIN, ""),
    row("sysfs", "/sys", PLAIN, ""),
    row("devpts", "/dev/pts", TERMINALS, "gid=5,mode=0620,ptmxmode=0666"),
    row("tmpfs", "/dev/shm", PLAIN, "mode=1777"),
    row("mqueue", "/dev/mqueue", PLAIN, ""),
    row("tmpfs", "/run", PROGRAMS, "mode=0755,size=20%"),
    row("tmpfs", "/tmp", PROGRAMS, "mode=1777,size=20%"),
    row("tmpfs", "/etc", PLAIN, "mode=0755,size=16m"),
    // The last option: a process that enters a cgroup waits for no grace period of RCU, 10 to 20 ms, of which each pod has a few.
    row("cgroup2", "/sys/fs/cgroup", PLAIN, "nsdelegate,memory_recursiveprot,favordynmods"),
    maybe("securityfs", "/sys/kernel/security"),
    maybe("bpf", "/sys/fs/bpf"),
    maybe("pstore", "/sys/fs/pstore"),
    maybe("efivarfs", "/sys/firmware/efi/efivars"),
    maybe("configfs", "/sys/kernel/config"),
    maybe("hugetlbfs", "/dev/hugepages"),
    maybe("tmpfs", "/root"),
];

/// Directories that are needed before the table (below `/dev`) or after it.
const DEV_DIRS: [&str; 4] = ["/dev/pts", "/dev/shm", "/dev/mqueue", "/dev/hugepages"];
const DEV_LINKS: [(&str, &str); 4] = [
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
];

/// Mounts the table and makes everything shared, so that volumes can propagate out of containers that ask for it.
pub fn mount_all(journal: &mut Journal) {
    for dir in DEV_DIRS {
        make_dir(journal, dir, 0o755);
    }
    for Row { fstype, target, flags, data, optional } in &TABLE {
        match rk_sys::mount(fstype, target, fstype, *flags, data) {
            Ok(()) => {}
            Err(_) if *optional => {}
            Err(err) => journal.failed("mounting", &err),
        }
    }
    for (to, link) in DEV_LINKS {
        let _ = symlink(to, link);
    }
    journal.check("sharing mounts", rk_sys::make_shared("/"));
}

/// Makes a directory and its parents; one that is there keeps its mode.
pub fn make_dir(journal: &mut Journal, path: &str, mode: u32) {
    if Path::new(path).is_dir() {
        return;
    }
    if let Err(err) = fs::DirBuilder::new().recursive(true).mode(mode).create(path) {
        journal.failed(&format!("making {path}"), &err);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_are_mounted_before_what_is_below_them() {
        for (i, row) in TABLE.iter().enumerate() {
            for later in &TABLE[i + 1..] {
                assert!(
                    !row.target.starts_with(&format!("{}/", later.target)),
                    "{} hides {}",
                    later.target,
                    row.target
                );
            }
        }
    }
}

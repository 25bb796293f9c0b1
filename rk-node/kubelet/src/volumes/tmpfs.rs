//! Mounts below pod directories: tmpfs for what must not reach a disk, huge pages, and finding and undoing every mount at the end.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// Whether something is mounted exactly here (by device: bind mounts of the same filesystem are not told apart).
pub fn is_other_device(path: &Path) -> io::Result<bool> {
    let own = fs::symlink_metadata(path)?;
    let parent = path.parent().ok_or_else(|| io::Error::other("the path has no parent"))?;
    Ok(own.dev() != fs::symlink_metadata(parent)?.dev())
}

/// Whether something is mounted exactly here, bind mounts included.
pub fn is_mount_point(path: &Path) -> io::Result<bool> {
    let path = fs::canonicalize(path)?;
    Ok(mounts_below(&fs::read_to_string("/proc/self/mountinfo")?, &path).contains(&path))
}

/// Mounts a tmpfs of this mode and group here unless one is there. `size` in bytes, the kernel's default (half of the memory) without.
/// Nothing of it is ever swapped out where the kernel can promise that (6.4 and later): swap is a disk.
pub fn ensure_tmpfs(path: &Path, size: Option<u64>, mode: u32, group: Option<u32>) -> io::Result<()> {
    fs::create_dir_all(path)?;
    if is_other_device(path)? {
        return Ok(());
    }
    let mut options = open_to(mode, group);
    if let Some(size) = size {
        options.push_str(&format!(",size={size}"));
    }
    let try_with = |options: &str| {
        mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some(options))
    };
    try_with(&format!("{options},noswap"))
        .or_else(|errno| if errno == Errno::EINVAL { try_with(&options) } else { Err(errno) })
        .map_err(|e| io::Error::other(format!("mounting tmpfs on {}: {e}", path.display())))
}

/// Mounts huge pages of this size (bytes), mode and group here unless something is mounted.
pub fn ensure_hugetlbfs(path: &Path, page_size: u64, mode: u32, group: Option<u32>) -> io::Result<()> {
    fs::create_dir_all(path)?;
    if is_other_device(path)? {
        return Ok(());
    }
    let options = format!("pagesize={page_size},{}", open_to(mode, group));
    mount(Some("hugetlbfs"), path, Some("hugetlbfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some(options.as_str()))
        .map_err(|e| io::Error::other(format!("mounting hugetlbfs on {}: {e}", path.display())))?;
    // This file system leaves the set-group-ID bit out of the mode that it is mounted with.
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Mount options of file systems in memory: who may use the root.
fn open_to(mode: u32, group: Option<u32>) -> String {
    let group = group.map_or_else(String::new, |group| format!(",gid={group}"));
    format!("mode={mode:o}{group}")
}

/// Mount points below `root` in `/proc/self/mountinfo`, deepest last as they were made.
pub fn mounts_below(mountinfo: &str, root: &Path) -> Vec<PathBuf> {
    mountinfo
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|field| PathBuf::from(unescape(field)))
        .filter(|path| path.starts_with(root))
        .collect()
}

/// The kernel writes space, tab, newline and backslash as octal.
fn unescape(field: &str) -> String {
    let mut out = String::new();
    let mut rest = field;
    while let Some(at) = rest.find('\\') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        match from.get(1..4).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                out.push(char::from(byte));
                rest = from.get(4..).unwrap_or_default();
            }
            None => {
                out.push('\\');
                rest = from.get(1..).unwrap_or_default();
            }
        }
    }
    out.push_str(rest);
    out
}

/// Unmounts everything below `root`, last made first, and fails when something stays.
pub fn unmount_below(root: &Path) -> io::Result<()> {
    let read = || fs::read_to_string("/proc/self/mountinfo");
    for path in mounts_below(&read()?, root).iter().rev() {
        umount2(path, MntFlags::MNT_DETACH)
            .map_err(|e| io::Error::other(format!("unmounting {}: {e}", path.display())))?;
    }
    match mounts_below(&read()?, root).first() {
        None => Ok(()),
        Some(left) => Err(io::Error::other(format!("{} is still mounted", left.display()))),
    }
}

/// Removes a directory tree that holds no mount any more. Never walks into a mount: that could delete what is not ours.
pub fn remove_tree(root: &Path) -> io::Result<()> {
    if !root.exists() {
        return Ok(());
    }
    unmount_below(root)?;
    rk_sys::remove_tree(root)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_of_a_file_system_in_memory_is_its_groups_from_the_start() {
        assert_eq!(open_to(0o755, None), "mode=755");
        assert_eq!(open_to(0o2777, Some(1001)), "mode=2777,gid=1001");
    }

    #[test]
    fn mount_points_below_a_root_are_found_and_unescaped() {
        let info = "1 1 8:1 / / rw - ext4 /dev/sda rw\n2 1 0:5 / /pods/a/v rw - tmpfs t rw\n3 1 0:6 / /pods/a/v/x\\040y rw - tmpfs t rw\n4 1 0:7 / /pods/ab rw - tmpfs t rw\n";
        assert_eq!(
            mounts_below(info, Path::new("/pods/a")),
            [PathBuf::from("/pods/a/v"), PathBuf::from("/pods/a/v/x y")]
        );
    }
}

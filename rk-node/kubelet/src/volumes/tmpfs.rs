//! File systems in memory below pod directories: tmpfs for what must not reach a disk, and huge pages.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};

/// Whether something is mounted exactly here (by device: bind mounts of the same filesystem are not told apart).
pub fn is_other_device(path: &Path) -> io::Result<bool> {
    let own = fs::symlink_metadata(path)?;
    let parent = path.parent().ok_or_else(|| io::Error::other("the path has no parent"))?;
    Ok(own.dev() != fs::symlink_metadata(parent)?.dev())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_of_a_file_system_in_memory_is_its_groups_from_the_start() {
        assert_eq!(open_to(0o755, None), "mode=755");
        assert_eq!(open_to(0o2777, Some(1001)), "mode=2777,gid=1001");
    }
}

//! Making a volume usable by the pod's `fsGroup`.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::Path;

/// Read and write for the group, or only read.
const READ_WRITE: u32 = 0o660;
const READ_ONLY: u32 = 0o440;
/// Directories must be entered; new files in them belong to the group.
const DIRECTORY: u32 = 0o110;
const SET_GID: u32 = 0o2000;

/// Gives everything below `root` to `group`. `on_root_mismatch`: skip the walk when the root already fits.
pub fn apply(root: &Path, group: Option<i64>, read_only: bool, on_root_mismatch: bool) -> io::Result<()> {
    let Some(group) = group.and_then(|g| u32::try_from(g).ok()) else { return Ok(()) };
    let mask = if read_only { READ_ONLY } else { READ_WRITE };
    if on_root_mismatch {
        let meta = fs::symlink_metadata(root)?;
        let wanted = mask | DIRECTORY | SET_GID;
        if meta.gid() == group && meta.mode() & wanted == wanted {
            return Ok(());
        }
    }
    walk(root, group, mask)
}

fn walk(path: &Path, group: u32, mask: u32) -> io::Result<()> {
    let meta = fs::symlink_metadata(path)?;
    lchown(path, None, Some(group))?;
    if meta.file_type().is_symlink() {
        return Ok(());
    }
    if meta.is_dir() {
        for entry in fs::read_dir(path)? {
            walk(&entry?.path(), group, mask)?;
        }
        return fs::set_permissions(path, fs::Permissions::from_mode(meta.mode() | mask | DIRECTORY | SET_GID));
    }
    fs::set_permissions(path, fs::Permissions::from_mode(meta.mode() | mask))
}

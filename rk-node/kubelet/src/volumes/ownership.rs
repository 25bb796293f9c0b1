//! Making a volume usable by the pod's `fsGroup`.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::Path;

/// Read and write for the group, or only read.
const READ_WRITE: u32 = 0o660;
const READ_ONLY: u32 = 0o440;
/// Directories must be entered.
const DIRECTORY: u32 = 0o110;
/// New files in directories belong to the group.
pub const SET_GID: u32 = 0o2000;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_that_fits_is_walked_only_when_told_always() {
        let dir = tempfile::tempdir().unwrap();
        let (root, file, link) = (dir.path().join("v"), dir.path().join("v/file"), dir.path().join("v/link"));
        fs::create_dir(&root).unwrap();
        fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink("/nowhere", &link).unwrap();
        let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let mode = |path: &Path| fs::symlink_metadata(path).unwrap().mode() & 0o7777;
        // One's own group is the one that everybody may give.
        let group = Some(i64::from(fs::metadata(&root).unwrap().gid()));
        set(&root, 0o700);
        for (read_only, on_mismatch, file_before, root_after, file_after) in [
            (false, true, 0o600, 0o2770, 0o660),
            (false, true, 0o600, 0o2770, 0o600),
            (false, false, 0o600, 0o2770, 0o660),
            (true, false, 0o600, 0o2770, 0o640),
        ] {
            set(&file, file_before);
            apply(&root, group, read_only, on_mismatch).unwrap();
            assert_eq!((mode(&root), mode(&file)), (root_after, file_after), "{read_only} {on_mismatch}");
        }
        set(&root, 0o770);
        set(&file, 0o600);
        apply(&root, group, false, true).unwrap();
        assert_eq!(
            (mode(&root), mode(&file)),
            (0o2770, 0o660),
            "a root whose new files are not the group's does not fit"
        );
        set(&file, 0o600);
        apply(&root, None, false, false).unwrap();
        assert_eq!(mode(&file), 0o600, "without a group nothing changes");
    }
}

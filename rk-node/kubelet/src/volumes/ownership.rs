//! Making a volume usable by the pod's `fsGroup`.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use k8s_openapi::api::core::v1::Pod;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, chmod, chownat, fstat, open, openat};
use rustix::io::Errno;
use rustix::process::Gid;

/// Read and write for the group, or only read.
const READ_WRITE: u32 = 0o660;
const READ_ONLY: u32 = 0o440;
/// Directories must be entered.
const DIRECTORY: u32 = 0o110;
/// New files in directories belong to the group.
pub const SET_GID: u32 = 0o2000;

/// Levels of directories that are gone down at most: each takes two descriptors and a part of the stack.
const DEEPEST: usize = 1024;
/// Something is opened to be looked at, whatever it is; no link is followed.
const LOOK: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const LIST: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// The group that a pod wants its volumes given to, and whether only when their root does not fit. What it is only to read stays as it is.
pub fn wanted(pod: &Pod, read_only: bool) -> (Option<i64>, bool) {
    let context = pod.spec.as_ref().and_then(|s| s.security_context.as_ref()).filter(|_| !read_only);
    let policy = context.and_then(|c| c.fs_group_change_policy.as_deref());
    (context.and_then(|c| c.fs_group), policy == Some("OnRootMismatch"))
}

/// Gives everything below `root` to `group`. `on_root_mismatch`: skip the walk when the root already fits. What the file system refuses to
/// give is left as it is, as upstream does: servers that know no root would keep pods for ever.
///
/// # Errors
/// Something cannot be looked at.
pub fn apply(root: &Path, group: Option<i64>, read_only: bool, on_root_mismatch: bool) -> io::Result<()> {
    let Some(group) = group.and_then(|g| u32::try_from(g).ok()) else { return Ok(()) };
    let mask = if read_only { READ_ONLY } else { READ_WRITE };
    let root = open(root, LOOK, Mode::empty())?;
    if on_root_mismatch {
        let meta = fstat(&root)?;
        let wanted = mask | DIRECTORY | SET_GID;
        if meta.st_gid == group && meta.st_mode & wanted == wanted {
            return Ok(());
        }
    }
    let mut refused = None;
    let given = give(&root, group, mask, DEEPEST, &mut refused);
    if let Some(why) = refused {
        tracing::warn!(group, "not all of a volume can be given to its group: {why}");
    }
    given
}

/// Gives what is open to the group, after all that is below it: a root that fits tells of the whole. Nothing is looked up twice: whoever
/// else has the volume may put a link to a file of the node in the place of anything meanwhile. `refused`: why something was not given.
fn give(what: &OwnedFd, group: u32, mask: u32, levels: usize, refused: &mut Option<Errno>) -> io::Result<()> {
    let meta = fstat(what)?;
    let kind = FileType::from_raw_mode(meta.st_mode);
    let mut wanted = mask;
    if kind == FileType::Directory {
        wanted |= DIRECTORY | SET_GID;
        give_all(what, group, mask, levels, refused)?;
    }
    let strange = meta.st_gid != group;
    if strange && let Err(why) = chownat(what, c"", None, Some(Gid::from_raw(group)), AtFlags::EMPTY_PATH) {
        refused.get_or_insert(why);
    }
    // Another group may have taken bits away.
    if kind != FileType::Symlink && (strange || meta.st_mode & wanted != wanted) {
        let mode = Mode::from_raw_mode((meta.st_mode | wanted) & 0o7777);
        if let Err(why) = chmod(format!("/proc/self/fd/{}", what.as_raw_fd()), mode) {
            refused.get_or_insert(why);
        }
    }
    Ok(())
}

/// Gives what is in a directory to the group.
fn give_all(dir: &OwnedFd, group: u32, mask: u32, levels: usize, refused: &mut Option<Errno>) -> io::Result<()> {
    let levels = levels.checked_sub(1).ok_or_else(|| io::Error::other("its directories are nested too deeply"))?;
    for entry in Dir::new(openat(dir, ".", LIST, Mode::empty())?)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        match openat(dir, name, LOOK, Mode::empty()) {
            // Somebody has removed it.
            Err(Errno::NOENT) => {}
            found => give(&found?, group, mask, levels, refused)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_says_for_which_group_and_whether_always() {
        for (context, want) in [
            (json!({}), (None, false)),
            (json!({"fsGroup": 7}), (Some(7), false)),
            (json!({"fsGroup": 7, "fsGroupChangePolicy": "Always"}), (Some(7), false)),
            (json!({"fsGroup": 7, "fsGroupChangePolicy": "OnRootMismatch"}), (Some(7), true)),
        ] {
            let spec = json!({"containers": [], "securityContext": context});
            let pod = serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap();
            assert_eq!(wanted(&pod, false), want, "{context}");
            assert_eq!(wanted(&pod, true), (None, false), "{context}");
        }
    }

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

    #[test]
    fn a_root_fits_only_after_all_that_is_below_it_and_no_link_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("v"), dir.path().join("outside"));
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("file"), "").unwrap();
        let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let mode = |path: &Path| fs::symlink_metadata(path).unwrap().mode() & 0o7777;
        [outside.join("file"), outside.clone()].iter().for_each(|path| set(path, 0o700));
        fs::create_dir_all(root.join("d/d/d/d")).unwrap();
        std::os::unix::fs::symlink(&outside, root.join("link")).unwrap();
        std::os::unix::fs::symlink(outside.join("file"), root.join("to-file")).unwrap();
        set(&root, 0o700);
        let group = fs::metadata(&root).unwrap().gid();
        give(&open(&root, LOOK, Mode::empty()).unwrap(), group, READ_WRITE, 3, &mut None).unwrap_err();
        assert_eq!(mode(&root), 0o700, "what is begun is not taken for done");
        apply(&root, Some(i64::from(group)), false, true).unwrap();
        assert_eq!((mode(&root), mode(&outside), mode(&outside.join("file"))), (0o2770, 0o700, 0o700));
    }

    #[test]
    fn what_cannot_be_given_to_a_group_is_left_as_it_is() {
        use nix::mount::{MntFlags, MsFlags, mount, umount2};
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let tmpfs = |flags| mount(Some("tmpfs"), root, Some("tmpfs"), flags, None::<&str>).unwrap();
        tmpfs(MsFlags::empty());
        fs::write(root.join("file"), "").unwrap();
        tmpfs(MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY);
        let told = apply(root, Some(7), false, false);
        let group = fs::metadata(root.join("file")).unwrap().gid();
        umount2(root, MntFlags::MNT_DETACH).unwrap();
        told.unwrap();
        assert_ne!(group, 7);
    }
}

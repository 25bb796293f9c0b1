//! Directories and files that are made in a container because something is to be there.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rk_sys::patiently;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, ResolveFlags, Uid, chownat, mkdirat, open, openat, openat2};
use rustix::io::{Errno, Result};

/// The directory, or else the file, at `path` in `root`; it is made with all that leads there, for `owner` if there is one, where it is not
/// there. Links lead nowhere out of the root, and those that the kernel makes nowhere at all: a container may show the node's in its `/proc`.
pub fn make(root: &Path, path: &Path, is_dir: bool, owner: Option<(u32, u32)>) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let top = open(root, flags | OFlags::DIRECTORY, Mode::empty())?;
    let mut at = open(root, flags | OFlags::DIRECTORY, Mode::empty())?;
    let mut so_far = PathBuf::new();
    let mut parts = path.components().filter(|part| matches!(part, Component::Normal(_))).peekable();
    while let Some(part) = parts.next() {
        so_far.push(part);
        let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let find = || patiently(|| openat2(&top, &so_far, flags, Mode::empty(), how));
        at = match find() {
            Err(Errno::NOENT) => {
                add(&at, part.as_os_str(), is_dir || parts.peek().is_some(), owner)?;
                find()?
            }
            found => found?,
        };
    }
    Ok(at)
}

/// Makes one in `dir`, which was found within the root; a link of that name is not followed.
fn add(dir: &OwnedFd, name: &OsStr, is_dir: bool, owner: Option<(u32, u32)>) -> Result<()> {
    let made = if is_dir {
        mkdirat(dir, name, Mode::from_raw_mode(0o755))
    } else {
        let new = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(dir, name, new, Mode::from_raw_mode(0o644)).map(drop)
    };
    match made {
        // Another container of the pod makes it in the same volume, or a link leads nowhere.
        Err(Errno::EXIST) => return Ok(()),
        made => made?,
    }
    owner.map_or(Ok(()), |(uid, gid)| {
        chownat(dir, name, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::SYMLINK_NOFOLLOW)
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_place_is_made_where_links_lead_and_never_out_of_its_root() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("run")).unwrap();
        for (target, link) in [("/run", "var"), ("../../..", "up"), ("/nothing", "lost")] {
            symlink(target, root.join(link)).unwrap();
        }
        let made = |path: &str, is_dir| make(&root, Path::new(path), is_dir, None).map(drop);
        for (path, is_dir, is_at) in [
            ("/a/b/", true, "a/b"),
            ("/a/b/file", false, "a/b/file"),
            ("/var/own/deep", true, "run/own/deep"),
            ("/up/top", true, "top"),
        ] {
            // Again it is there already.
            for _ in 0..2 {
                assert_eq!(made(path, is_dir), Ok(()), "{path}");
                assert_eq!(root.join(is_at).is_dir(), is_dir, "{path}");
            }
        }
        assert!(root.join("a/b/file").is_file());
        assert_eq!(made("/a/b/file/below", true), Err(Errno::NOTDIR));
        assert_eq!(made("/lost/below", true), Err(Errno::NOENT));
        assert!(!root.join("nothing").exists() && !dir.path().join("top").exists());
    }

    #[test]
    fn a_link_of_the_kernels_own_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let place = |link: &str| Path::new(link).join(dir.path().strip_prefix("/").unwrap()).join("made");
        // It is the same directory, and another one where a process of the node is in the container's `/proc`.
        let made = make(Path::new("/"), &place("/proc/self/root"), true, None);
        assert_eq!(made.map(drop), Err(Errno::LOOP));
        assert!(!dir.path().join("made").exists());
    }
}

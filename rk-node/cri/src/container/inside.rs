//! Files of an image by the paths that they have in it: its links stay inside, and nothing of it is opened that is more than a file.

use std::{
    fs::File,
    io::{self, Read},
    os::fd::{AsRawFd, OwnedFd},
    path::{Component, Path, PathBuf},
};

use rk_sys::patiently;
use rustix::{
    fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, chownat, fstat, mkdirat, open, openat2},
    io::Errno,
};

/// Bytes of a text that are read; longer ones mean nothing here.
const MAX_BYTES: u64 = 1 << 20;

/// Finds what a path means in the tree at `root`, whose links are followed as if it were the root of all. It is not opened.
///
/// # Errors
/// As of `openat2(2)`.
fn find(root: &Path, path: &Path) -> io::Result<OwnedFd> {
    let root = open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let how = ResolveFlags::IN_ROOT;
    Ok(patiently(|| openat2(&root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), how))?)
}

/// By which name the kernel knows what was found, whatever happens to its path.
fn name(found: &OwnedFd) -> PathBuf {
    Path::new("/proc/self/fd").join(found.as_raw_fd().to_string())
}

/// Where on the node something of the tree at `root` is.
///
/// # Errors
/// As of `openat2(2)`.
pub(super) fn place(root: &Path, path: &Path) -> io::Result<PathBuf> {
    std::fs::read_link(name(&find(root, path)?))
}

/// Makes those directories of a path in the tree at `root` that are not there, and gives them to a user and a group.
///
/// # Errors
/// As of `openat2(2)`, `mkdirat(2)` and `fchownat(2)`.
pub(super) fn make(root: &Path, path: &Path, (uid, gid): (u32, u32)) -> io::Result<()> {
    let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    let mut so_far = PathBuf::new();
    for name in path.components().filter(|part| matches!(part, Component::Normal(_))) {
        let parent = find(root, &so_far)?;
        match mkdirat(&parent, name.as_os_str(), Mode::from_raw_mode(0o755)) {
            Err(Errno::EXIST) => {}
            made => made.and_then(|()| chownat(&parent, name.as_os_str(), uid, gid, AtFlags::SYMLINK_NOFOLLOW))?,
        }
        so_far.push(name);
    }
    Ok(())
}

/// The beginning of a text file of the tree at `root`; empty if there is none. A device would hear of it if it were opened, and a pipe
/// wait.
///
/// # Errors
/// It is there, and cannot be read.
pub(super) fn text(root: &Path, path: &Path) -> io::Result<String> {
    let found = match find(root, path) {
        Err(error) if is_absent(&error) => return Ok(String::new()),
        other => other?,
    };
    let mut text = Vec::new();
    if FileType::from_raw_mode(fstat(&found)?.st_mode) == FileType::RegularFile {
        File::open(name(&found))?.take(MAX_BYTES).read_to_end(&mut text)?;
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Whether a path leads to nothing, by whatever links.
pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_of_an_image_stay_in_it_and_only_files_are_read() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("outside"), "outside").unwrap();
        let root = dir.path().canonicalize().unwrap().join("root");
        std::fs::create_dir_all(root.join("usr/etc")).unwrap();
        std::fs::write(root.join("usr/etc/passwd"), "inside").unwrap();
        for (link, target) in [
            ("etc", "/usr/etc"),
            ("up", "../../outside"),
            ("usr/up", "../../../usr/etc/passwd"),
            ("loop", "loop"),
            ("zero", "/dev/zero"),
        ] {
            symlink(target, root.join(link)).unwrap();
        }
        rustix::fs::mknodat(rustix::fs::CWD, root.join("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        for (path, seen, read) in [
            ("usr/etc/passwd", Some("usr/etc/passwd"), "inside"),
            ("etc/passwd", Some("usr/etc/passwd"), "inside"),
            ("usr/up", Some("usr/etc/passwd"), "inside"),
            ("etc", Some("usr/etc"), ""),
            ("", Some(""), ""),
            ("pipe", Some("pipe"), ""),
            ("up", None, ""),
            ("loop", None, ""),
            ("zero", None, ""),
            ("nothing", None, ""),
        ] {
            let at = place(&root, Path::new(path)).ok();
            let wanted = seen.map(|seen| if seen.is_empty() { root.clone() } else { root.join(seen) });
            assert_eq!((at, text(&root, Path::new(path)).unwrap().as_str()), (wanted, read), "{path}");
        }
    }

    #[test]
    fn a_device_is_not_opened() {
        // Whose bytes have no end: a mebibyte of them would be seen.
        assert_eq!(text(Path::new("/dev"), Path::new("zero")).unwrap(), "");
    }
}

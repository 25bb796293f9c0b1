//! subPath: a part of a volume, opened so that no symlink can lead out of it, and bind-mounted from the open file.
//!
//! A container may replace a directory of its volume by a symlink at any moment. The kernel resolves the path beneath the
//! volume's root in one go (`openat2`, RESOLVE_BENEATH); the bind mount is then made from the descriptor, not from a path.

use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rk_sys::patiently;
use rustix::fs::{Mode, OFlags, ResolveFlags, fchmod, fstat, mkdirat, open, openat2};

/// Opens `sub` beneath `volume`, making missing directories, without ever leaving the volume.
fn open_beneath(volume: &Path, sub: &Path) -> io::Result<OwnedFd> {
    if sub.is_absolute() || sub.components().any(|c| matches!(c, Component::ParentDir)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "subPath must be relative and without '..'"));
    }
    let root = open(volume, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let find = |at: &OwnedFd, path: &Path| {
        patiently(|| openat2(at.as_fd(), path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), how))
    };
    match find(&root, sub) {
        Err(rustix::io::Errno::NOENT) => {}
        other => return other.map_err(Into::into),
    }
    // New directories are as open as the volume itself, so that whoever may use the one may use the other.
    let mode = Mode::from_raw_mode(fstat(&root)?.st_mode & 0o7777);
    let mut so_far = PathBuf::new();
    for component in sub.components() {
        let Component::Normal(name) = component else { continue };
        let parent = if so_far.as_os_str().is_empty() { find(&root, Path::new("."))? } else { find(&root, &so_far)? };
        match mkdirat(parent.as_fd(), name, mode) {
            // Somebody else made it in between, or it was there.
            Err(rustix::io::Errno::EXIST) => {}
            // The umask may have cut the mode. Should the name be another thing by now, it is left as it is.
            Ok(()) => match openat2(
                parent.as_fd(),
                name,
                OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
                how,
            ) {
                Ok(made) => fchmod(&made, mode)?,
                Err(error) => tracing::debug!("a new subPath directory vanished: {error}"),
            },
            Err(error) => return Err(error.into()),
        }
        so_far.push(name);
    }
    find(&root, sub).map_err(Into::into)
}

/// Reads a file beneath `volume`, wherever its links lead within it; `None` when it is not there.
///
/// # Errors
/// It cannot be read, is no regular file of UTF-8, or is longer than `limit` bytes.
pub fn read_beneath(volume: &Path, path: &str, limit: u64) -> Result<Option<String>, String> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let found = open(volume, flags, Mode::empty())
        .and_then(|root| patiently(|| openat2(root.as_fd(), path, flags, Mode::empty(), how)));
    let found = match found {
        Ok(found) => found,
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    // Looked at before it is opened: a container may have made a device node, and opening one of those is a deed.
    let magic = format!("/proc/self/fd/{}", found.as_raw_fd());
    let meta = fs::metadata(&magic).map_err(|error| error.to_string())?;
    if !meta.is_file() || meta.len() > limit {
        return Err(format!("not a regular file of at most {limit} bytes"));
    }
    let file = fs::File::open(&magic).map_err(|error| error.to_string())?;
    let mut text = String::new();
    file.take(limit).read_to_string(&mut text).map_err(|error| error.to_string())?;
    Ok(Some(text))
}

/// Bind-mounts `sub` of `volume` at `target` and returns nothing but success; a mount that is there is replaced.
pub fn bind(volume: &Path, sub: &str, target: &Path) -> Result<(), String> {
    let shown = || format!("failed to prepare subPath for volumeMount: {sub:?}");
    let source = open_beneath(volume, Path::new(sub)).map_err(|e| format!("{}: {e}", shown()))?;
    let magic = PathBuf::from(format!("/proc/self/fd/{}", source.as_raw_fd()));
    let is_dir = fs::metadata(&magic).map_err(|e| format!("{}: {e}", shown()))?.is_dir();
    let made = || -> io::Result<()> {
        super::mounted::unmount_below(target)?;
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        // What is left from a kubelet that died half way may be of the other kind.
        match fs::symlink_metadata(target) {
            Ok(meta) if meta.is_dir() == is_dir => return Ok(()),
            Ok(meta) if meta.is_dir() => fs::remove_dir(target)?,
            Ok(_) => fs::remove_file(target)?,
            Err(_) => {}
        }
        if is_dir { fs::create_dir(target) } else { fs::File::create(target).map(drop) }
    };
    made().map_err(|e| format!("{}: {e}", shown()))?;
    super::mounted::bind(&magic, target).map_err(|e| format!("{}: bind mount on {}: {e}", shown(), target.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subpath_is_made_and_no_symlink_leads_out() {
        let dir = tempfile::tempdir().unwrap();
        let volume = dir.path().join("v");
        fs::create_dir(&volume).unwrap();
        fs::set_permissions(&volume, std::os::unix::fs::PermissionsExt::from_mode(0o2777)).unwrap();
        fs::write(dir.path().join("secret"), "x").unwrap();
        open_beneath(&volume, Path::new("a/b")).unwrap();
        assert!(volume.join("a/b").is_dir());
        let mode = |path: &Path| std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path).unwrap().permissions());
        assert_eq!(mode(&volume.join("a/b")), mode(&volume));
        std::os::unix::fs::symlink("a/b", volume.join("inside")).unwrap();
        open_beneath(&volume, Path::new("inside/c")).unwrap();
        assert!(volume.join("a/b/c").is_dir());
        std::os::unix::fs::symlink(dir.path(), volume.join("out")).unwrap();
        std::os::unix::fs::symlink("../secret", volume.join("up")).unwrap();
        for bad in ["out", "out/secret", "out/new", "up", "../secret", "/etc"] {
            assert!(open_beneath(&volume, Path::new(bad)).is_err(), "{bad}");
        }
        assert!(!dir.path().join("new").exists());
        fs::write(volume.join("a/env"), "A='1'").unwrap();
        std::os::unix::fs::symlink("a/env", volume.join("link")).unwrap();
        for (path, limit, want) in [
            ("a/env", 5, Ok(Some("A='1'".to_owned()))),
            ("link", 5, Ok(Some("A='1'".to_owned()))),
            ("a/none", 5, Ok(None)),
            ("a/env", 4, Err(())),
            ("a", 5, Err(())),
            ("up", 5, Err(())),
            ("../secret", 5, Err(())),
        ] {
            assert_eq!(read_beneath(&volume, path, limit).map_err(drop), want, "{path}");
        }
    }
}

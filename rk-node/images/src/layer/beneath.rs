//! Paths of archives, and file system calls that cannot leave a directory, whatever links an archive planted in it.
//!
//! Parents are resolved by `openat2(RESOLVE_IN_ROOT)`, so that `..` and absolute links stay inside; the last component is then
//! touched relative to the parent and never followed.

use std::{
    ffi::{CStr, CString},
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use super::target::Found;
use rk_sys::patiently;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, XattrFlags};

/// A root directory that everything stays beneath.
pub(super) struct Beneath {
    root: OwnedFd,
    /// The parent opened last: archives list the children of a directory together.
    last: Option<(Vec<u8>, OwnedFd)>,
}

/// A parent directory and a name in it.
pub(super) struct Spot {
    pub parent: OwnedFd,
    pub name: CString,
}

impl Beneath {
    /// Resolves paths below `root`.
    pub fn new(root: OwnedFd) -> Self {
        Self { root, last: None }
    }

    /// The directory that no path leaves.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Resolves a clean relative path to its parent; missing parents are made and reported to `made`.
    pub fn spot(&mut self, path: &[u8], made: &mut dyn FnMut(&[u8])) -> io::Result<Spot> {
        let (parent, name) = match path.iter().rposition(|b| *b == b'/') {
            Some(slash) => (path.get(..slash).unwrap_or_default(), path.get(slash + 1..).unwrap_or_default()),
            None => (&[][..], path),
        };
        let name = CString::new(name).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        if let Some((_, fd)) = self.last.as_ref().filter(|(known, _)| known == parent) {
            return Ok(Spot { parent: fd.try_clone()?, name });
        }
        let fd = match self.open_dir(parent) {
            Err(rustix::io::Errno::NOENT) => self.make_parents(parent, made)?,
            other => other?,
        };
        self.last = Some((parent.to_vec(), fd.try_clone()?));
        Ok(Spot { parent: fd, name })
    }

    /// Forgets the remembered parent, which may be gone.
    pub fn forget(&mut self) {
        self.last = None;
    }

    fn open_dir(&self, path: &[u8]) -> rustix::io::Result<OwnedFd> {
        let path = if path.is_empty() { &b"."[..] } else { path };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        patiently(|| rustix::fs::openat2(&self.root, path, flags, Mode::empty(), how))
    }

    fn make_parents(&self, path: &[u8], made: &mut dyn FnMut(&[u8])) -> io::Result<OwnedFd> {
        let mut at = self.open_dir(b"")?;
        let mut end = 0;
        for part in path.split(|b| *b == b'/') {
            end += part.len() + usize::from(end > 0);
            let prefix = path.get(..end).unwrap_or_default();
            at = match self.open_dir(prefix) {
                Err(rustix::io::Errno::NOENT) => {
                    // EEXIST here is a dangling link: following it would guess at what the image meant.
                    rustix::fs::mkdirat(&at, part, Mode::from_raw_mode(0o755))?;
                    made(prefix);
                    self.open_dir(prefix)?
                }
                other => other?,
            };
        }
        Ok(at)
    }
}

impl Spot {
    /// What stands here, without following a link.
    pub fn found(&self) -> io::Result<Found> {
        let stat = match rustix::fs::statat(&self.parent, self.name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW) {
            Err(rustix::io::Errno::NOENT) => return Ok(Found::Nothing),
            other => other?,
        };
        Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Found::Directory,
            FileType::CharacterDevice if stat.st_rdev == 0 => Found::Whiteout,
            _ => Found::Other,
        })
    }

    /// Removes what stands here, directories with their content.
    pub fn remove(&self) -> io::Result<()> {
        match self.found()? {
            Found::Nothing => Ok(()),
            Found::Directory => std::fs::remove_dir_all(self.proc_path()),
            _ => Ok(rustix::fs::unlinkat(&self.parent, self.name.as_c_str(), AtFlags::empty())?),
        }
    }

    /// Sets an extended attribute without following a link.
    pub fn set_xattr(&self, name: &CStr, value: &[u8]) -> rustix::io::Result<()> {
        rustix::fs::lsetxattr(self.proc_path(), name, value, XattrFlags::empty())
    }

    /// `/proc/self/fd/<parent>/<name>`: for calls that know no directory descriptors.
    fn proc_path(&self) -> std::path::PathBuf {
        use std::os::unix::ffi::OsStrExt;
        let name = std::ffi::OsStr::from_bytes(self.name.to_bytes());
        std::path::Path::new("/proc/self/fd").join(self.parent.as_raw_fd().to_string()).join(name)
    }
}

/// Cleans an archive's path: relative, without `.` and with `..` taken back; `None` when it climbs out.
pub(super) fn clean(path: &[u8]) -> Option<Vec<u8>> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join(&b'/'))
}

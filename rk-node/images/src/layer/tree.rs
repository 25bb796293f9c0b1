//! A layer as a tree of files.

use std::{
    ffi::{CStr, CString},
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid};

use super::{
    beneath::{Beneath, Spot},
    memory::Share,
    seal::{Seal, Sums},
    sparse::Sparse,
    summed::Summed,
    tar::{Entry, Kind},
    target::{Content, Found, Target, is_kept, write_file},
};
use crate::reference::Digest;

/// Bytes of memory that a directory takes besides its path, until its time is set, and a file, until it is sealed.
const REMEMBERED: usize = 48;

const OPAQUE: &CStr = c"trusted.overlay.opaque";

/// A directory that a layer is unpacked into.
pub(super) struct Unpacked {
    root: PathBuf,
    at: Beneath,
    /// Directories whose times are set last, since filling them changes them.
    directories: Vec<(Vec<u8>, (i64, u32))>,
    sums: Sums,
    /// The memory for both.
    share: Share,
}

impl Unpacked {
    /// Unpacks into an existing empty directory.
    pub fn new(root: &Path) -> io::Result<Self> {
        let at = rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let (root, at, share) = (root.to_owned(), Beneath::new(at), Share::default());
        Ok(Self { root, at, directories: Vec::new(), sums: Sums::new(), share })
    }
}

impl Target for Unpacked {
    type Spot = Spot;

    fn root(&self) -> io::Result<Spot> {
        Ok(Spot { parent: self.at.root().try_clone_to_owned()?, name: c".".into() })
    }

    fn spot(&mut self, path: &[u8], made: &mut dyn FnMut(&[u8])) -> io::Result<Spot> {
        self.at.spot(path, made)
    }

    fn found(&self, spot: &Spot) -> io::Result<Found> {
        spot.found()
    }

    fn remove(&mut self, spot: &Spot) -> io::Result<()> {
        self.at.forget();
        spot.remove()
    }

    fn make_directory(&mut self, spot: &Spot) -> io::Result<()> {
        Ok(rustix::fs::mkdirat(&spot.parent, spot.name.as_c_str(), Mode::from_raw_mode(0o755))?)
    }

    fn make_whiteout(&mut self, spot: &Spot) -> io::Result<()> {
        let (name, kind) = (spot.name.as_c_str(), FileType::CharacterDevice);
        Ok(rustix::fs::mknodat(&spot.parent, name, kind, Mode::empty(), 0)?)
    }

    fn make_opaque(&mut self, spot: &Spot) -> io::Result<()> {
        Ok(spot.set_xattr(OPAQUE, b"y")?)
    }

    fn make_file(&mut self, spot: &Spot, content: &mut dyn Read, sparse: Option<&Sparse>) -> io::Result<u64> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd: OwnedFd = rustix::fs::openat(&spot.parent, spot.name.as_c_str(), flags, Mode::from_raw_mode(0o600))?;
        let mut summed = Summed::new(File::from(fd));
        let written = write_file(content, &mut summed, sparse)?;
        self.share.take(REMEMBERED)?;
        self.sums.insert(summed.out.metadata()?.ino(), summed.crc.sum());
        Ok(written)
    }

    fn make_other(&mut self, spot: &Spot, entry: &Entry) -> io::Result<()> {
        let kind = match entry.kind {
            Kind::Symlink => {
                return Ok(rustix::fs::symlinkat(entry.link.as_slice(), &spot.parent, spot.name.as_c_str())?);
            }
            Kind::Char => FileType::CharacterDevice,
            Kind::Block => FileType::BlockDevice,
            _ => FileType::Fifo,
        };
        let device = rustix::fs::makedev(entry.major, entry.minor);
        Ok(rustix::fs::mknodat(&spot.parent, spot.name.as_c_str(), kind, Mode::from_raw_mode(0o600), device)?)
    }

    fn make_link(&mut self, spot: &Spot, target: &Spot) -> io::Result<()> {
        let (old, new) = (target.name.as_c_str(), spot.name.as_c_str());
        Ok(rustix::fs::linkat(&target.parent, old, &spot.parent, new, AtFlags::empty())?)
    }

    fn dress(&mut self, spot: &Spot, path: &[u8], entry: &Entry) -> io::Result<()> {
        dress(spot, entry)?;
        match entry.kind {
            Kind::Directory => {
                self.share.take(REMEMBERED + path.len())?;
                self.directories.push((path.to_vec(), entry.mtime));
            }
            _ => set_times(spot, entry.mtime)?,
        }
        Ok(())
    }

    fn finish(mut self, _diff_id: &Digest) -> io::Result<Seal> {
        for (path, mtime) in std::mem::take(&mut self.directories).into_iter().rev() {
            let spot = if path.is_empty() { self.root()? } else { self.spot(&path, &mut |_| {})? };
            // A later entry may have put something else in its place.
            if spot.found()? == Found::Directory {
                set_times(&spot, mtime)?;
            }
        }
        Seal::of_tree(&self.root, &self.sums)
    }
}

impl Content for Summed<File> {
    fn hole(&mut self, bytes: u64) -> io::Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        self.skip(bytes);
        let end = self.out.stream_position()? + bytes;
        // One at the end of the file is told by its size alone.
        self.out.set_len(end)?;
        self.out.seek(SeekFrom::Start(end)).map(drop)
    }
}

/// Owner, then mode (chown clears set-user-ID), then attributes (chown clears capabilities).
fn dress(spot: &Spot, entry: &Entry) -> io::Result<()> {
    // As chown(2): -1 leaves it root's.
    let known = |id: u32| Some(id).filter(|id| *id != u32::MAX);
    let (uid, gid) = (known(entry.uid).map(Uid::from_raw), known(entry.gid).map(Gid::from_raw));
    rustix::fs::chownat(&spot.parent, spot.name.as_c_str(), uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
    if entry.kind != Kind::Symlink {
        rustix::fs::chmodat(&spot.parent, spot.name.as_c_str(), Mode::from_raw_mode(entry.mode), AtFlags::empty())?;
    }
    for (name, value) in &entry.xattrs {
        let Some(name) = CString::new(name.as_slice()).ok().filter(|_| is_kept(name)) else {
            tracing::debug!(name = %String::from_utf8_lossy(name), "skipped an extended attribute");
            continue;
        };
        match spot.set_xattr(&name, value) {
            // `user.` exists on files and directories only, and not on every file system.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::PERM) if name.to_bytes().starts_with(b"user.") => {}
            other => other?,
        }
    }
    Ok(())
}

fn set_times(spot: &Spot, (seconds, nanos): (i64, u32)) -> io::Result<()> {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos.into() };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(rustix::fs::utimensat(&spot.parent, spot.name.as_c_str(), &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

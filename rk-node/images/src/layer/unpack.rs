//! Applies a layer's tar stream to an empty directory in overlayfs' own terms: whiteouts become 0/0 character devices, opaque
//! directories get `trusted.overlay.opaque`.

use std::{
    collections::BTreeSet,
    ffi::CString,
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::Path,
    sync::Arc,
};

use flate2::Crc;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use serde::{Deserialize, Serialize};

use super::{
    beneath::{Beneath, Found, Spot, clean},
    budget::{Budget, over_budget},
    decompress::decompress,
    seal::{Seal, Sums},
    sparse::Sparse,
    tar::{Entry, Kind, Reader},
};
use crate::{blob::Hasher, reference::Digest};

/// More directories without an entry of their own than any tool leaves out.
const MAX_IMPLICIT: usize = 65_536;
/// Bytes that go from archive to file at once.
const PIECE: usize = 32 << 10;
const OPAQUE: &std::ffi::CStr = c"trusted.overlay.opaque";

/// Budgets of one layer, and of the image that it belongs to.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub bytes: u64,
    pub entries: u64,
    pub image: Option<Arc<Budget>>,
}

/// What a layer turned out to be; kept beside it as `meta.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Meta {
    pub diff_id: Digest,
    /// Bytes of file content.
    pub bytes: u64,
    pub inodes: u64,
    /// Directories made only because something lies in them (`""` is the root): a lower layer knows their owner and mode.
    pub implicit: BTreeSet<String>,
    /// What its directory must go on to be; layers of earlier releases have none.
    #[serde(default)]
    pub seal: Option<Seal>,
}

/// Unpacks `source` into `into`, an existing empty directory. `like` tells the algorithm of the diff ID.
pub(crate) fn unpack(source: impl Read, into: &Path, like: &Digest, limits: Limits) -> io::Result<Meta> {
    let root = rustix::fs::open(into, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let counted =
        Counted { inner: decompress(source)?, hasher: Hasher::like(like), left: limits.bytes, image: limits.image };
    let mut layer = Layer {
        at: Beneath::new(root),
        directories: Vec::new(),
        sums: Sums::new(),
        meta: Meta {
            diff_id: like.clone(),
            bytes: 0,
            inodes: 1,
            implicit: BTreeSet::from([String::new()]),
            seal: None,
        },
    };
    let mut reader = Reader::new(counted);
    let mut entries = 0;
    while let Some(entry) = reader.next()? {
        entries += 1;
        if entries > limits.entries {
            return Err(over_budget(format!("more than {} entries", limits.entries)));
        }
        if let Some(sparse) = &entry.sparse {
            // Whoever reads the file reads its holes.
            reader.below().charge(sparse.holes)?;
        }
        let path = String::from_utf8_lossy(&entry.path).into_owned();
        layer.apply(&entry, &mut reader).map_err(|e| io::Error::new(e.kind(), format!("entry {path:?}: {e}")))?;
    }
    // The diff ID covers the padding after the archive too.
    let mut rest = reader.into_inner();
    io::copy(&mut rest, &mut io::sink())?;
    layer.finish_directories()?;
    layer.meta.seal = Some(Seal::of(into, &layer.sums)?);
    layer.meta.diff_id = rest.hasher.finish();
    Ok(layer.meta)
}

struct Counted<R> {
    inner: R,
    hasher: Hasher,
    left: u64,
    image: Option<Arc<Budget>>,
}

impl<R> Counted<R> {
    /// Counts bytes that are unpacked.
    fn charge(&mut self, bytes: u64) -> io::Result<()> {
        let too_large = || over_budget("unpacks to more bytes than allowed".into());
        self.left = self.left.checked_sub(bytes).ok_or_else(too_large)?;
        self.image.as_ref().map_or(Ok(()), |image| image.take(bytes))
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.charge(n as u64)?;
        self.hasher.update(buf.get(..n).unwrap_or_default());
        Ok(n)
    }
}

struct Layer {
    at: Beneath,
    /// Directories whose times are set last, since filling them changes them.
    directories: Vec<(Vec<u8>, (i64, u32))>,
    sums: Sums,
    meta: Meta,
}

impl Layer {
    fn apply(&mut self, entry: &Entry, content: &mut impl Read) -> io::Result<()> {
        let path = clean(&entry.path).ok_or_else(|| invalid("path escapes the layer"))?;
        if path.is_empty() {
            return self.root(entry);
        }
        let name_at = path.iter().rposition(|b| *b == b'/').map_or(0, |slash| slash + 1);
        let (directory, name) = path.split_at(name_at);
        match name.strip_prefix(b".wh.") {
            Some(b".wh..opq") => self.opaque(directory.strip_suffix(b"/").unwrap_or(directory)),
            // Book-keeping of aufs, which means nothing here.
            Some(hidden) if hidden.starts_with(b".wh.") => Ok(()),
            Some(b"" | b"." | b"..") => Err(invalid("whiteout without a name")),
            Some(hidden) => self.whiteout(&[directory, hidden].concat()),
            None => self.entry(&path, entry, content),
        }
    }

    fn root(&mut self, entry: &Entry) -> io::Result<()> {
        if entry.kind != Kind::Directory {
            return Err(invalid("the root is not a directory"));
        }
        self.meta.implicit.remove("");
        let spot = Spot { parent: self.at.root().try_clone_to_owned()?, name: c".".into() };
        dress(&spot, entry)?;
        self.directories.push((Vec::new(), entry.mtime));
        Ok(())
    }

    fn spot(&mut self, path: &[u8]) -> io::Result<Spot> {
        let meta = &mut self.meta;
        let spot = self.at.spot(path, &mut |made| {
            meta.implicit.insert(String::from_utf8_lossy(made).into_owned());
            meta.inodes += 1;
        })?;
        if self.meta.implicit.len() > MAX_IMPLICIT {
            return Err(over_budget(format!("more than {MAX_IMPLICIT} directories without an entry")));
        }
        Ok(spot)
    }

    /// Hides everything that lower layers hold in a directory.
    fn opaque(&mut self, directory: &[u8]) -> io::Result<()> {
        if directory.is_empty() {
            // The root is the mount itself; overlayfs reads the mark there as well.
            let spot = Spot { parent: self.at.root().try_clone_to_owned()?, name: c".".into() };
            return Ok(spot.set_xattr(OPAQUE, b"y")?);
        }
        let spot = self.spot(directory)?;
        match spot.found()? {
            Found::Directory => {}
            Found::Nothing | Found::Whiteout => {
                spot.remove()?;
                rustix::fs::mkdirat(&spot.parent, spot.name.as_c_str(), Mode::from_raw_mode(0o755))?;
                self.meta.implicit.insert(String::from_utf8_lossy(directory).into_owned());
                self.meta.inodes += 1;
            }
            Found::Other => return Err(invalid("opaque mark below something that is no directory")),
        }
        Ok(spot.set_xattr(OPAQUE, b"y")?)
    }

    /// Hides one name of lower layers; what this very layer put there stays, but merges with nothing.
    fn whiteout(&mut self, path: &[u8]) -> io::Result<()> {
        let spot = self.spot(path)?;
        match spot.found()? {
            Found::Nothing => {
                self.meta.inodes += 1;
                Ok(rustix::fs::mknodat(
                    &spot.parent,
                    spot.name.as_c_str(),
                    FileType::CharacterDevice,
                    Mode::empty(),
                    0,
                )?)
            }
            Found::Directory => Ok(spot.set_xattr(OPAQUE, b"y")?),
            Found::Whiteout | Found::Other => Ok(()),
        }
    }

    fn entry(&mut self, path: &[u8], entry: &Entry, content: &mut impl Read) -> io::Result<()> {
        let spot = self.spot(path)?;
        let before = spot.found()?;
        let keep = entry.kind == Kind::Directory && before == Found::Directory;
        if before != Found::Nothing && !keep {
            spot.remove()?;
            self.at.forget();
        }
        if !keep {
            self.meta.inodes += u64::from(entry.kind != Kind::HardLink);
        }
        match entry.kind {
            Kind::Directory if keep => {
                self.meta.implicit.remove(String::from_utf8_lossy(path).as_ref());
            }
            Kind::Directory => {
                rustix::fs::mkdirat(&spot.parent, spot.name.as_c_str(), Mode::from_raw_mode(0o700))?;
                if before == Found::Whiteout {
                    spot.set_xattr(OPAQUE, b"y")?;
                }
            }
            Kind::File => self.meta.bytes += write_file(&spot, content, entry.sparse.as_ref(), &mut self.sums)?,
            Kind::Symlink => rustix::fs::symlinkat(entry.link.as_slice(), &spot.parent, spot.name.as_c_str())?,
            Kind::HardLink => return self.hard_link(&spot, &entry.link),
            Kind::Char if (entry.major, entry.minor) == (0, 0) => {
                return Err(invalid("device 0:0 is overlayfs' whiteout"));
            }
            Kind::Char | Kind::Block | Kind::Fifo => make_node(&spot, entry)?,
        }
        dress(&spot, entry)?;
        match entry.kind {
            Kind::Directory => self.directories.push((path.to_vec(), entry.mtime)),
            _ => set_times(&spot, entry.mtime)?,
        }
        Ok(())
    }

    fn hard_link(&mut self, spot: &Spot, target: &[u8]) -> io::Result<()> {
        let target = clean(target).filter(|t| !t.is_empty()).ok_or_else(|| invalid("hard link escapes the layer"))?;
        let target = self.at.spot(&target, &mut |_| {})?;
        match target.found()? {
            Found::Other => {}
            Found::Nothing => return Err(invalid("hard link to a file that this layer does not hold")),
            Found::Directory | Found::Whiteout => return Err(invalid("hard link to a directory or device")),
        }
        let (old, new) = (target.name.as_c_str(), spot.name.as_c_str());
        Ok(rustix::fs::linkat(&target.parent, old, &spot.parent, new, AtFlags::empty())?)
    }

    fn finish_directories(&mut self) -> io::Result<()> {
        for (path, mtime) in std::mem::take(&mut self.directories).into_iter().rev() {
            let spot = match path.is_empty() {
                true => Spot { parent: self.at.root().try_clone_to_owned()?, name: c".".into() },
                false => self.at.spot(&path, &mut |_| {})?,
            };
            // A later entry may have put something else in its place.
            if spot.found()? == Found::Directory {
                set_times(&spot, mtime)?;
            }
        }
        Ok(())
    }
}

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// Bytes written, holes aside; the sum of the file goes into `sums`.
fn write_file(spot: &Spot, content: &mut impl Read, sparse: Option<&Sparse>, sums: &mut Sums) -> io::Result<u64> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd: OwnedFd = rustix::fs::openat(&spot.parent, spot.name.as_c_str(), flags, Mode::from_raw_mode(0o600))?;
    let mut file = File::from(fd);
    let mut crc = Crc::new();
    let written = match sparse {
        None => copy(content, &mut file, &mut crc)?,
        Some(sparse) => copy_parts(content, &mut file, sparse, &mut crc)?,
    };
    sums.insert(file.metadata()?.ino(), crc.sum());
    Ok(written)
}

/// Writes all that there is; how much that was.
fn copy(content: &mut impl Read, file: &mut File, crc: &mut Crc) -> io::Result<u64> {
    let mut buffer = [0u8; PIECE];
    let mut written = 0;
    loop {
        let n = content.read(&mut buffer)?;
        let piece = buffer.get(..n).unwrap_or_default();
        if piece.is_empty() {
            return Ok(written);
        }
        crc.update(piece);
        file.write_all(piece)?;
        written += n as u64;
    }
}

/// Writes the parts of a file to their places, and leaves holes between them.
fn copy_parts(content: &mut impl Read, file: &mut File, sparse: &Sparse, crc: &mut Crc) -> io::Result<u64> {
    let (mut end, mut written) = (0, 0);
    for (offset, length) in &sparse.extents {
        zeros(crc, offset - end);
        file.seek(SeekFrom::Start(*offset))?;
        let part = copy(&mut content.by_ref().take(*length), file, crc)?;
        if part < *length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        written += part;
        end = offset + length;
    }
    zeros(crc, sparse.size - end);
    file.set_len(sparse.size)?;
    Ok(written)
}

/// A hole, as who reads the file sees it.
fn zeros(crc: &mut Crc, mut count: u64) {
    const ZEROS: &[u8] = &[0; PIECE];
    while count > 0 {
        let piece = count.min(ZEROS.len() as u64);
        crc.update(ZEROS.get(..piece as usize).unwrap_or_default());
        count -= piece;
    }
}

fn make_node(spot: &Spot, entry: &Entry) -> io::Result<()> {
    let kind = match entry.kind {
        Kind::Char => FileType::CharacterDevice,
        Kind::Block => FileType::BlockDevice,
        _ => FileType::Fifo,
    };
    let device = rustix::fs::makedev(entry.major, entry.minor);
    Ok(rustix::fs::mknodat(&spot.parent, spot.name.as_c_str(), kind, Mode::from_raw_mode(0o600), device)?)
}

/// Owner, then mode (chown clears set-user-ID), then attributes (chown clears capabilities).
fn dress(spot: &Spot, entry: &Entry) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
    rustix::fs::chownat(&spot.parent, spot.name.as_c_str(), Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    if entry.kind != Kind::Symlink {
        rustix::fs::chmodat(&spot.parent, spot.name.as_c_str(), Mode::from_raw_mode(entry.mode), AtFlags::empty())?;
    }
    for (name, value) in &entry.xattrs {
        let wanted =
            name == b"security.capability" || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."));
        let Some(name) = CString::new(name.as_slice()).ok().filter(|_| wanted) else {
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

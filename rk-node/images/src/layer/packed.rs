//! A layer as one file: contents go there as they come, names stay in memory until the end.

use std::{
    fs::File,
    io::{self, BufWriter, Read, Seek, SeekFrom},
    os::unix::fs::FileExt,
    path::Path,
};

use rk_erofs::{BLOCK, Body, Contents, Dress, Id, Output, Tree, Writer};

use super::{
    memory::Share,
    resolve::Resolver,
    seal::Seal,
    sparse::Sparse,
    summed::Summed,
    tar::{Entry, Kind},
    target::{Content, Found, Target, is_kept, write_file},
};
use crate::reference::Digest;

/// The file, in a layer's directory.
pub(crate) const FILE: &str = "layer.erofs";

/// Bytes that go to the disk at once.
const BUFFER: usize = 1 << 20;

const OPAQUE: &[u8] = b"trusted.overlay.opaque";

/// A file that a layer is unpacked into.
pub(super) struct Packed {
    writer: Writer<Out>,
    tree: Tree,
    at: Resolver,
    share: Share,
}

/// A directory and a name in it.
pub(super) struct Place {
    directory: Id,
    /// Empty for the root.
    name: Vec<u8>,
}

impl Packed {
    /// Unpacks into a new empty file.
    pub fn new(file: File) -> io::Result<Self> {
        let mut out = BufWriter::with_capacity(BUFFER, file);
        out.seek(SeekFrom::Start(BLOCK))?;
        let writer = Writer::new(Summed::new(out));
        Ok(Self { writer, tree: Tree::default(), at: Resolver::default(), share: Share::default() })
    }

    fn at(&self, place: &Place) -> Option<Id> {
        if place.name.is_empty() { Some(place.directory) } else { self.tree.child(place.directory, &place.name) }
    }

    fn there(&self, place: &Place) -> io::Result<Id> {
        self.at(place).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn add(&mut self, place: &Place, body: Body) -> io::Result<()> {
        self.tree.add(place.directory, &place.name, body)?;
        self.judge_memory()
    }

    fn judge_memory(&mut self) -> io::Result<()> {
        self.share.grow(self.tree.cost())
    }
}

impl Target for Packed {
    type Spot = Place;

    fn root(&self) -> io::Result<Place> {
        Ok(Place { directory: Tree::ROOT, name: Vec::new() })
    }

    fn spot(&mut self, path: &[u8], made: &mut dyn FnMut(&[u8])) -> io::Result<Place> {
        let (directory, name) = self.at.spot(&mut self.tree, path, made)?;
        self.judge_memory()?;
        Ok(Place { directory, name })
    }

    fn found(&self, place: &Place) -> io::Result<Found> {
        Ok(match self.at(place).map(|id| self.tree.body(id)) {
            None => Found::Nothing,
            Some(Body::Directory { .. }) => Found::Directory,
            Some(Body::Char(0, 0)) => Found::Whiteout,
            Some(_) => Found::Other,
        })
    }

    fn remove(&mut self, place: &Place) -> io::Result<()> {
        self.at.forget();
        self.tree.unlink(place.directory, &place.name);
        Ok(())
    }

    fn make_directory(&mut self, place: &Place) -> io::Result<()> {
        self.tree.add_directory(place.directory, &place.name, 0o755)?;
        self.judge_memory()
    }

    fn make_whiteout(&mut self, place: &Place) -> io::Result<()> {
        self.add(place, Body::Char(0, 0))
    }

    fn make_opaque(&mut self, place: &Place) -> io::Result<()> {
        let id = self.there(place)?;
        self.tree.set_attribute(id, OPAQUE, b"y")
    }

    fn make_file(&mut self, place: &Place, content: &mut dyn Read, sparse: Option<&Sparse>) -> io::Result<u64> {
        let mut contents = self.writer.contents()?;
        let written = write_file(content, &mut contents, sparse)?;
        let body = Body::File(contents.end()?);
        self.add(place, body)?;
        Ok(written)
    }

    fn make_other(&mut self, place: &Place, entry: &Entry) -> io::Result<()> {
        let body = match entry.kind {
            // As symlink(2) has it.
            Kind::Symlink if entry.link.is_empty() => return Err(io::ErrorKind::NotFound.into()),
            Kind::Symlink if entry.link.len() as u64 >= BLOCK => return Err(io::ErrorKind::InvalidFilename.into()),
            Kind::Symlink => Body::Symlink(entry.link.as_slice().into()),
            Kind::Char => Body::Char(entry.major, entry.minor),
            Kind::Block => Body::Block(entry.major, entry.minor),
            _ => Body::Fifo,
        };
        self.add(place, body)
    }

    fn make_link(&mut self, place: &Place, target: &Place) -> io::Result<()> {
        let id = self.there(target)?;
        self.tree.link(place.directory, &place.name, id)?;
        self.judge_memory()
    }

    fn dress(&mut self, place: &Place, _path: &[u8], entry: &Entry) -> io::Result<()> {
        let id = self.there(place)?;
        // Links may be read by all; nobody asks for more.
        let mode = if entry.kind == Kind::Symlink { 0o777 } else { entry.mode as u16 & 0o7777 };
        // As chown(2): -1 leaves it root's.
        let owner = |id: u32| if id == u32::MAX { 0 } else { id };
        self.tree.dress(id, Dress { mode, uid: owner(entry.uid), gid: owner(entry.gid), mtime: entry.mtime });
        for (name, value) in &entry.xattrs {
            // As with trees, `user.` exists on files and directories only.
            let none = name.starts_with(b"user.") && !matches!(entry.kind, Kind::File | Kind::Directory);
            if none || !is_kept(name) {
                tracing::debug!(name = %String::from_utf8_lossy(name), "skipped an extended attribute");
                continue;
            }
            if name == b"security.capability" && !is_capability(value) {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "capabilities of a form that is not known"));
            }
            self.tree.set_attribute(id, name, value)?;
        }
        self.judge_memory()
    }

    fn finish(self, diff_id: &Digest) -> io::Result<Seal> {
        let done = self.writer.finish(&self.tree, uuid(diff_id))?;
        let Summed { out, mut crc } = done.out;
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        crc.update(&done.first);
        file.write_all_at(&done.first, 0)?;
        Seal::of_file(&file, done.size, done.metadata, crc.sum())
    }
}

/// As setxattr(2) judges: revisions 2 and 3 of the kernel's `struct vfs_cap_data`, whose one flag is in the lowest bit.
fn is_capability(value: &[u8]) -> bool {
    matches!((value.len(), value), (20, [0 | 1, 0, 0, 2, ..]) | (24, [0 | 1, 0, 0, 3, ..]))
}

/// Tells the file systems of two layers apart, as overlayfs likes to.
fn uuid(diff_id: &Digest) -> [u8; 16] {
    let mut uuid = [0; 16];
    let bytes = hex::decode(diff_id.hex()).unwrap_or_default();
    uuid.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    uuid
}

/// Writes the smallest file system that there is, to be tried.
pub(super) fn empty(file: &Path) -> io::Result<()> {
    let done = Writer::new(Vec::new()).finish(&Tree::default(), [0; 16])?;
    std::fs::write(file, [done.first, done.out].concat())
}

/// A file that is written from its second block on, and the sum of that.
type Out = Summed<BufWriter<File>>;

impl Output for Out {
    fn hole(&mut self, bytes: u64) -> io::Result<()> {
        self.skip(bytes);
        let bytes = i64::try_from(bytes).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        self.out.seek(SeekFrom::Current(bytes)).map(drop)
    }
}

impl Content for Contents<'_, Out> {
    fn hole(&mut self, bytes: u64) -> io::Result<()> {
        match bytes {
            0 => Ok(()),
            _ => Contents::hole(self, bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_of_revision_two_or_three() {
        let value = |length: usize, magic: u32| {
            let mut value = magic.to_le_bytes().to_vec();
            value.resize(length, 0);
            value
        };
        for (length, magic, fine) in [
            (20, 0x0200_0000, true),
            (20, 0x0200_0001, true),
            (24, 0x0300_0000, true),
            (12, 0x0100_0000, false),
            (20, 0x0300_0000, false),
            (24, 0x0200_0000, false),
            (20, 0x0200_0002, false),
            (20, 0x0201_0000, false),
            (0, 0, false),
        ] {
            assert_eq!(is_capability(&value(length, magic)), fine, "{length} {magic:x}");
        }
    }
}

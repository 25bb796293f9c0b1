//! What a layer is unpacked to: a [`Form`] on the disk, and the steps that make one.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::Path,
};

use super::{
    packed::{self, Packed},
    seal::Seal,
    sparse::Sparse,
    tar::Entry,
    tree::Unpacked,
};
use crate::{mounts, reference::Digest};

/// Bytes that go from archive to file at once.
const PIECE: usize = 32 << 10;

/// The directory that shows what is in a layer, in the layer's own.
pub(crate) const SHOWN: &str = "fs";

/// How a layer lies on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// A tree of files and directories, where the kernel takes nothing better and as all earlier releases made them.
    Tree,
    /// One file with a file system in it, which is mounted while it is in use.
    Erofs,
}

impl Form {
    /// The better one that this kernel can show from a file below `directory`, which is tried.
    pub fn here(directory: &Path) -> Self {
        let file = directory.join(format!("probe-{:016x}", rand::random::<u64>()));
        let tried = packed::empty(&file).and_then(|()| mounts::try_erofs(&file));
        let _ = fs::remove_file(&file);
        match tried {
            Ok(()) => Self::Erofs,
            Err(error) => {
                tracing::info!(%error, "layers are unpacked as trees: erofs cannot be mounted from files here");
                Self::Tree
            }
        }
    }

    /// Inodes of the disk that a layer of so many takes.
    pub fn inodes(self, inodes: u64) -> u64 {
        match self {
            Self::Tree => inodes,
            Self::Erofs => 1,
        }
    }
}

/// What stands at a spot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    Directory,
    Whiteout,
    Other,
}

/// The steps of unpacking, in the terms of overlayfs. None of them leaves the layer, whatever links an archive planted in it.
pub(super) trait Target {
    /// A parent directory and a name in it.
    type Spot;

    /// The directory that everything is in.
    fn root(&self) -> io::Result<Self::Spot>;

    /// Resolves a clean relative path to its parent, through links; missing parents are made and reported to `made`.
    fn spot(&mut self, path: &[u8], made: &mut dyn FnMut(&[u8])) -> io::Result<Self::Spot>;

    /// What stands at a spot, without following a link.
    fn found(&self, spot: &Self::Spot) -> io::Result<Found>;

    /// Removes what stands at a spot, directories with their content.
    fn remove(&mut self, spot: &Self::Spot) -> io::Result<()>;

    /// Makes a directory where nothing is.
    fn make_directory(&mut self, spot: &Self::Spot) -> io::Result<()>;

    /// Hides what lower layers have by that name.
    fn make_whiteout(&mut self, spot: &Self::Spot) -> io::Result<()>;

    /// Hides what lower layers have in a directory.
    fn make_opaque(&mut self, spot: &Self::Spot) -> io::Result<()>;

    /// Makes a file of what comes; its bytes, holes aside.
    fn make_file(&mut self, spot: &Self::Spot, content: &mut dyn Read, sparse: Option<&Sparse>) -> io::Result<u64>;

    /// Makes a symbolic link, a device or a pipe.
    fn make_other(&mut self, spot: &Self::Spot, entry: &Entry) -> io::Result<()>;

    /// Gives a file another name.
    fn make_link(&mut self, spot: &Self::Spot, target: &Self::Spot) -> io::Result<()>;

    /// Sets owner, mode, attributes and time; `path` leads to the spot.
    fn dress(&mut self, spot: &Self::Spot, path: &[u8], entry: &Entry) -> io::Result<()>;

    /// Nothing more comes. The sums of what there is.
    fn finish(self, diff_id: &Digest) -> io::Result<Seal>;
}

/// Where the content of a file goes: one byte after the other.
pub(super) trait Content: Write {
    /// So many zeros, which need not be stored.
    fn hole(&mut self, bytes: u64) -> io::Result<()>;
}

/// Writes a file, with its holes where it has some; how much that was without them.
pub(super) fn write_file(from: &mut dyn Read, to: &mut impl Content, sparse: Option<&Sparse>) -> io::Result<u64> {
    let Some(sparse) = sparse else { return copy(from, to) };
    let (mut end, mut written) = (0, 0);
    for (offset, length) in &sparse.extents {
        to.hole(offset - end)?;
        let part = copy(&mut (&mut *from).take(*length), to)?;
        if part < *length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        written += part;
        end = offset + length;
    }
    to.hole(sparse.size - end)?;
    Ok(written)
}

/// Writes all that there is; how much that was.
fn copy(from: &mut dyn Read, to: &mut impl Content) -> io::Result<u64> {
    let mut buffer = [0u8; PIECE];
    let mut written = 0;
    loop {
        let n = from.read(&mut buffer)?;
        let piece = buffer.get(..n).unwrap_or_default();
        if piece.is_empty() {
            return Ok(written);
        }
        to.write_all(piece)?;
        written += n as u64;
    }
}

/// Whether an attribute of an archive is kept: what is for overlayfs or security modules is not an image's affair.
pub(super) fn is_kept(name: &[u8]) -> bool {
    let users = name.starts_with(b"user.") && !name.starts_with(b"user.overlay.");
    !name.contains(&0) && (users || name == b"security.capability")
}

/// The empty layer of a form, in its own directory, which is there.
pub(super) fn begin(form: Form, directory: &Path) -> io::Result<Begun> {
    match form {
        Form::Tree => Ok(Begun::Tree(Unpacked::new(&directory.join(SHOWN))?)),
        Form::Erofs => {
            let file = File::options().read(true).write(true).create_new(true).open(directory.join(packed::FILE))?;
            Ok(Begun::Erofs(Packed::new(file)?))
        }
    }
}

/// A [`Target`] of either form.
pub(super) enum Begun {
    Tree(Unpacked),
    Erofs(Packed),
}

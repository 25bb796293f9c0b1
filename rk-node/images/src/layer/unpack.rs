//! Applies a layer's tar stream to an empty layer in overlayfs' own terms: whiteouts become 0/0 character devices, opaque
//! directories get `trusted.overlay.opaque`.

use std::{
    collections::BTreeSet,
    io::{self, Read},
    path::Path,
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{
    beneath::clean,
    budget::{Budget, over_budget},
    decompress::decompress,
    seal::Seal,
    tar::{Entry, Kind, Reader},
    target::{Begun, Form, Found, Target, begin},
};
use crate::{blob::Hasher, reference::Digest};

/// More directories without an entry of their own than any tool leaves out.
const MAX_IMPLICIT: usize = 65_536;
/// Bytes of their paths, which are kept with the layer: enough for so many of the usual length.
const MAX_IMPLICIT_PATHS: usize = 8 << 20;
/// Largest numbers of a device: the kernel has 12 and 20 bits for them.
const MAX_MAJOR: u32 = 0xfff;
const MAX_MINOR: u32 = 0xf_ffff;

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
    /// Nothing of lower layers is to be seen beside it: its root is opaque.
    #[serde(default)]
    pub hides: bool,
    /// What its directory must go on to be; layers of earlier releases have none.
    #[serde(default)]
    pub seal: Option<Seal>,
}

impl Meta {
    fn new(like: &Digest) -> Self {
        let implicit = BTreeSet::from([String::new()]);
        Self { diff_id: like.clone(), bytes: 0, inodes: 1, implicit, hides: false, seal: None }
    }

    /// How the layer lies on the disk.
    pub fn form(&self) -> Form {
        self.seal.as_ref().map_or(Form::Tree, Seal::form)
    }
}

/// Unpacks `source` into `into`, the directory of a layer, in one of its forms. `like` tells the algorithm of the diff ID.
pub(crate) fn unpack(source: impl Read, into: &Path, form: Form, like: &Digest, limits: Limits) -> io::Result<Meta> {
    match begin(form, into)? {
        Begun::Tree(tree) => apply(source, tree, like, limits),
        Begun::Erofs(file) => apply(source, file, like, limits),
    }
}

fn apply(source: impl Read, target: impl Target, like: &Digest, limits: Limits) -> io::Result<Meta> {
    let counted =
        Counted { inner: decompress(source)?, hasher: Hasher::like(like), left: limits.bytes, image: limits.image };
    let mut layer = Layer { at: target, meta: Meta::new(like), noted: 0 };
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
    layer.meta.diff_id = rest.hasher.finish();
    layer.meta.seal = Some(layer.at.finish(&layer.meta.diff_id)?);
    layer.meta.inodes = layer.meta.form().inodes(layer.meta.inodes);
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

struct Layer<T> {
    at: T,
    meta: Meta,
    /// Bytes of the paths of directories without an entry of their own.
    noted: usize,
}

impl<T: Target> Layer<T> {
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
        let root = self.at.root()?;
        self.at.dress(&root, b"", entry)
    }

    fn spot(&mut self, path: &[u8]) -> io::Result<T::Spot> {
        match self.resolve(path) {
            Err(error) if error.kind() == io::ErrorKind::NotADirectory && self.uncover(path)? => self.resolve(path),
            other => other,
        }
    }

    fn resolve(&mut self, path: &[u8]) -> io::Result<T::Spot> {
        let mut made = Vec::new();
        let spot = self.at.spot(path, &mut |path| made.push(path.to_vec()))?;
        made.iter().try_for_each(|path| self.note(path))?;
        Ok(spot)
    }

    /// Makes a directory of the whiteout that stands above a path: something new lies where lower layers are hidden, and no entry says
    /// what it lies in. Whether there was one.
    fn uncover(&mut self, path: &[u8]) -> io::Result<bool> {
        for (slash, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            let spot = self.at.spot(path.get(..slash).unwrap_or_default(), &mut |_| {})?;
            if self.at.found(&spot)? == Found::Whiteout {
                self.at.remove(&spot)?;
                self.at.make_directory(&spot)?;
                self.at.make_opaque(&spot)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Remembers a directory that is there only because something lies in it.
    fn note(&mut self, directory: &[u8]) -> io::Result<()> {
        self.meta.implicit.insert(String::from_utf8_lossy(directory).into_owned());
        self.meta.inodes += 1;
        self.noted += directory.len();
        if self.meta.implicit.len() > MAX_IMPLICIT {
            return Err(over_budget(format!("more than {MAX_IMPLICIT} directories without an entry")));
        }
        if self.noted > MAX_IMPLICIT_PATHS {
            let limit = format!("paths of directories without an entry take more than {MAX_IMPLICIT_PATHS} bytes");
            return Err(over_budget(limit));
        }
        Ok(())
    }

    /// Hides everything that lower layers hold in a directory.
    fn opaque(&mut self, directory: &[u8]) -> io::Result<()> {
        if directory.is_empty() {
            // Overlayfs merges roots whatever their marks say: layers below this one are left out.
            self.meta.hides = true;
            return Ok(());
        }
        let spot = self.spot(directory)?;
        match self.at.found(&spot)? {
            Found::Directory => {}
            found @ (Found::Nothing | Found::Whiteout) => {
                if found == Found::Whiteout {
                    self.at.remove(&spot)?;
                }
                self.at.make_directory(&spot)?;
                self.note(directory)?;
            }
            Found::Other => return Err(invalid("opaque mark below something that is no directory")),
        }
        self.at.make_opaque(&spot)
    }

    /// Hides one name of lower layers; what this very layer put there stays, but merges with nothing.
    fn whiteout(&mut self, path: &[u8]) -> io::Result<()> {
        let spot = self.spot(path)?;
        match self.at.found(&spot)? {
            Found::Nothing => {
                self.meta.inodes += 1;
                self.at.make_whiteout(&spot)
            }
            Found::Directory => self.at.make_opaque(&spot),
            Found::Whiteout | Found::Other => Ok(()),
        }
    }

    fn entry(&mut self, path: &[u8], entry: &Entry, content: &mut impl Read) -> io::Result<()> {
        let spot = self.spot(path)?;
        let before = self.at.found(&spot)?;
        let keep = entry.kind == Kind::Directory && before == Found::Directory;
        if before != Found::Nothing && !keep {
            self.at.remove(&spot)?;
        }
        if !keep {
            self.meta.inodes += u64::from(entry.kind != Kind::HardLink);
        }
        match entry.kind {
            Kind::Directory if keep => {
                self.meta.implicit.remove(String::from_utf8_lossy(path).as_ref());
            }
            Kind::Directory => {
                self.at.make_directory(&spot)?;
                if before == Found::Whiteout {
                    self.at.make_opaque(&spot)?;
                }
            }
            Kind::File => self.meta.bytes += self.at.make_file(&spot, content, entry.sparse.as_ref())?,
            Kind::HardLink => return self.hard_link(&spot, &entry.link),
            Kind::Char if (entry.major, entry.minor) == (0, 0) => {
                return Err(invalid("device 0:0 is overlayfs' whiteout"));
            }
            // The kernel would leave bits out, and make it another one.
            Kind::Char | Kind::Block if entry.major > MAX_MAJOR || entry.minor > MAX_MINOR => {
                return Err(invalid("device numbers are too large"));
            }
            Kind::Symlink | Kind::Char | Kind::Block | Kind::Fifo => self.at.make_other(&spot, entry)?,
        }
        self.at.dress(&spot, path, entry)
    }

    fn hard_link(&mut self, spot: &T::Spot, target: &[u8]) -> io::Result<()> {
        let target = clean(target).filter(|t| !t.is_empty()).ok_or_else(|| invalid("hard link escapes the layer"))?;
        let target = self.at.spot(&target, &mut |_| {})?;
        match self.at.found(&target)? {
            Found::Other => self.at.make_link(spot, &target),
            Found::Nothing => Err(invalid("hard link to a file that this layer does not hold")),
            Found::Directory | Found::Whiteout => Err(invalid("hard link to a directory or device")),
        }
    }
}

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::layer::tests::{Layer, forms};

    /// An archive of empty files, each with these records.
    fn archive<'a>(files: impl IntoIterator<Item = Vec<(&'static str, &'a str)>>) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for records in files {
            archive.append_pax_extensions(records.iter().map(|(key, value)| (*key, value.as_bytes()))).expect("pax");
            let mut header = tar::Header::new_ustar();
            header.set_path("short").expect("name");
            header.set_size(0);
            header.set_mode(0o644);
            header.set_cksum();
            archive.append(&header, &b""[..]).expect("append");
        }
        archive.into_inner().expect("archive")
    }

    /// Whether a layer that is one file takes files by these paths.
    fn unpacked(paths: &[String]) -> io::Result<Meta> {
        let archive = archive(paths.iter().map(|path| vec![("path", path.as_str())]));
        let dir = tempfile::tempdir().expect("tempdir");
        let limits = Limits { bytes: 64 << 20, entries: 100_000, image: None };
        unpack(archive.as_slice(), dir.path(), Form::Erofs, &Hasher::Sha256(Default::default()).finish(), limits)
    }

    #[test]
    fn directories_without_an_entry_are_so_many_and_their_paths_so_long() {
        // Twenty directories whose paths have 38 KB together.
        let deep = |n: usize| format!("{n}/{}f", format!("{}/", "d".repeat(200)).repeat(19));
        let meta = unpacked(&(0..200).map(deep).collect::<Vec<_>>()).expect("as many as may be");
        assert_eq!(meta.implicit.len(), 1 + 200 * 20);
        let error = unpacked(&(0..240).map(deep).collect::<Vec<_>>()).expect_err("too long");
        assert_eq!((error.kind(), error.to_string().contains("8388608 bytes")), (io::ErrorKind::FileTooLarge, true));
        let many: Vec<String> = (0..1500).map(|n| format!("{n}/{}f", "d/".repeat(45))).collect();
        let error = unpacked(&many).expect_err("too many");
        assert_eq!((error.kind(), error.to_string().contains("65536 dir")), (io::ErrorKind::FileTooLarge, true));
    }

    #[test]
    fn what_lies_below_a_whiteout_lies_in_a_new_directory() {
        let archive = archive([".wh.d", "d/e/f", "d/.wh.g", "d/g/h"].map(|path| vec![("path", path)]));
        for form in forms() {
            let layer = Layer::new(form);
            let meta = layer.unpack(&archive, Limits { bytes: 1 << 20, entries: 9, image: None }).expect("unpack");
            assert_eq!(meta.implicit, BTreeSet::from(["", "d/e"].map(String::from)), "{form:?}");
            assert!(layer.path("d/e/f").is_file() && layer.path("d/g/h").is_file(), "{form:?}");
            for (name, opaque) in [("d", true), ("d/g", true), ("d/e", false)] {
                let mut value = [0_u8; 1];
                let read = rustix::fs::getxattr(layer.path(name), c"trusted.overlay.opaque", &mut value);
                assert_eq!((read.is_ok(), value == *b"y"), (opaque, opaque), "{name} {form:?}");
            }
        }
        assert!(unpacked(&["d".to_owned(), "d/e".to_owned()]).is_err(), "a file is no directory");
    }

    #[test]
    fn owners_that_nobody_can_be_are_root() {
        let nobody = u32::MAX.to_string();
        let archive = archive([
            vec![("uid", nobody.as_str()), ("gid", "70000")],
            vec![("path", "other"), ("uid", "4294967294"), ("gid", nobody.as_str())],
        ]);
        for form in forms() {
            let layer = Layer::new(form);
            layer.unpack(&archive, Limits { bytes: 1 << 20, entries: 9, image: None }).expect("unpack");
            for (name, owners) in [("short", (0, 70_000)), ("other", (4_294_967_294, 0))] {
                let meta = std::fs::metadata(layer.path(name)).expect(name);
                assert_eq!((meta.uid(), meta.gid()), owners, "{name} {form:?}");
            }
        }
    }
}

//! The seal of a layer that is a tree of files. Extended attributes and times are left out: file systems round and extend them.

use std::{
    collections::HashMap,
    fs::{self, File, Metadata},
    io::{self, Read},
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use flate2::Crc;
use serde::{Deserialize, Serialize};

use super::seal::PIECE;
use crate::{blob::Hasher, reference::Digest};

/// Entries that a step of [`TreeReading`] looks at at most.
const ENTRIES: usize = 256;

/// A layer as two digests over its entries in the order of their paths.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TreeSeal {
    /// Of paths, kinds, modes, owners, sizes, device numbers and targets of links: what can be told without reading files.
    tree: Digest,
    /// Of all that and of the sums of the contents of files.
    content: Digest,
}

/// Sums of files by their inodes, as they were written.
pub(super) type Sums = HashMap<u64, u32>;

impl TreeSeal {
    /// Seals a tree that was just written.
    pub fn of(root: &Path, sums: &Sums) -> io::Result<Self> {
        let (mut tree, mut content) = (sha256(), sha256());
        for entry in Walk::new(root) {
            let entry = entry?;
            let facts = entry.facts(root)?;
            tree.update(&facts);
            content.update(&facts);
            if entry.meta.is_file() {
                let sum = sums.get(&entry.meta.ino()).ok_or_else(|| io::Error::other("a file that nobody wrote"))?;
                content.update(&sum.to_le_bytes());
            }
        }
        Ok(Self { tree: tree.finish(), content: content.finish() })
    }

    /// Whether every entry is still what it was, contents aside.
    pub fn fits(&self, root: &Path) -> io::Result<bool> {
        let mut tree = sha256();
        for entry in Walk::new(root) {
            tree.update(&entry?.facts(root)?);
        }
        Ok(tree.finish() == self.tree)
    }
}

/// A layer that is read again from beginning to end, a step at a time.
pub(crate) struct TreeReading {
    root: PathBuf,
    walk: Walk,
    content: Hasher,
    /// The file that is being read.
    file: Option<(File, Crc)>,
    buffer: Vec<u8>,
}

impl TreeReading {
    /// Begins to read the tree below `root`.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), walk: Walk::new(root), content: sha256(), file: None, buffer: vec![0; 64 << 10] }
    }

    /// Reads on, and tells whether there is more. What cannot be read is an error: it is lost.
    pub fn step(&mut self) -> io::Result<bool> {
        let (mut bytes, mut entries) = (0, 0);
        while bytes < PIECE && entries < ENTRIES {
            if let Some(read) = self.read_file()? {
                bytes += read;
                continue;
            }
            let Some(entry) = self.walk.next() else { return Ok(false) };
            self.begin(&entry?)?;
            entries += 1;
        }
        Ok(true)
    }

    /// Whether what was read to its end is what was sealed; to be asked once.
    pub fn fits(&mut self, seal: &TreeSeal) -> bool {
        std::mem::replace(&mut self.content, sha256()).finish() == seal.content
    }

    fn begin(&mut self, entry: &Entry) -> io::Result<()> {
        self.content.update(&entry.facts(&self.root)?);
        if entry.meta.is_file() {
            self.file = Some((File::open(self.root.join(&entry.path))?, Crc::new()));
        }
        Ok(())
    }

    /// Bytes read of the file that is open; `None` without one.
    fn read_file(&mut self) -> io::Result<Option<usize>> {
        let Some((file, crc)) = &mut self.file else { return Ok(None) };
        let read = file.read(&mut self.buffer)?;
        if read > 0 {
            crc.update(self.buffer.get(..read).unwrap_or_default());
            return Ok(Some(read));
        }
        self.content.update(&crc.sum().to_le_bytes());
        // What nobody maps is not kept in memory on our account; not every file system has a say in it.
        let _ = rustix::fs::fadvise(&*file, 0, None, rustix::fs::Advice::DontNeed);
        self.file = None;
        Ok(Some(0))
    }
}

/// A hole, as who reads the file sees it.
pub(super) fn zeros(crc: &mut Crc, mut count: u64) {
    const ZEROS: &[u8] = &[0; 32 << 10];
    while count > 0 {
        let piece = count.min(ZEROS.len() as u64);
        crc.update(ZEROS.get(..piece as usize).unwrap_or_default());
        count -= piece;
    }
}

fn sha256() -> Hasher {
    Hasher::Sha256(Default::default())
}

struct Entry {
    /// Below the root, which is empty.
    path: PathBuf,
    meta: Metadata,
}

impl Entry {
    fn facts(&self, root: &Path) -> io::Result<Vec<u8>> {
        let mut facts = self.path.as_os_str().as_bytes().to_vec();
        let meta = &self.meta;
        // Sizes of directories are their file system's affair.
        let size = if meta.is_file() { meta.len() } else { 0 };
        let numbers = format!("\0{:o} {} {} {size} {}\n", meta.mode(), meta.uid(), meta.gid(), meta.rdev());
        facts.extend_from_slice(numbers.as_bytes());
        if meta.is_symlink() {
            facts.extend_from_slice(fs::read_link(root.join(&self.path))?.as_os_str().as_bytes());
            facts.push(0);
        }
        Ok(facts)
    }
}

/// All entries of a tree, the root first, a directory before what it holds; names in order. Links are not followed.
struct Walk {
    root: PathBuf,
    /// Paths that are still to come, the next one last.
    queue: Vec<PathBuf>,
}

impl Walk {
    fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), queue: vec![PathBuf::new()] }
    }

    fn visit(&mut self, path: PathBuf) -> io::Result<Entry> {
        let full = self.root.join(&path);
        let meta = fs::symlink_metadata(&full)?;
        if meta.is_dir() {
            let children = fs::read_dir(&full)?.map(|child| child.map(|child| path.join(child.file_name())));
            let mut children = children.collect::<io::Result<Vec<PathBuf>>>()?;
            children.sort_unstable_by(|a, b| b.cmp(a));
            self.queue.append(&mut children);
        }
        Ok(Entry { path, meta })
    }
}

impl Iterator for Walk {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        self.queue.pop().map(|path| self.visit(path))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn read(root: &Path, seal: &TreeSeal) -> io::Result<bool> {
        let mut reading = TreeReading::new(root);
        while reading.step()? {}
        Ok(reading.fits(seal))
    }

    fn crc(bytes: &[u8]) -> u32 {
        let mut crc = Crc::new();
        crc.update(bytes);
        crc.sum()
    }

    /// A tree of two files, one of them larger than a step, and a link.
    fn tree(root: &Path) -> Sums {
        let large = vec![7; PIECE + 9];
        fs::create_dir(root.join("d")).expect("directory");
        let mut sums = Sums::new();
        for (name, content) in [("a", &b"content"[..]), ("d/large", &large)] {
            fs::write(root.join(name), content).expect(name);
            sums.insert(fs::metadata(root.join(name)).expect(name).ino(), crc(content));
        }
        fs::hard_link(root.join("a"), root.join("d/again")).expect("hard link");
        std::os::unix::fs::symlink("/a", root.join("link")).expect("link");
        sums
    }

    #[test]
    fn what_is_as_it_was_fits_its_seal_and_whatever_changed_does_not() {
        type Change = fn(&Path) -> io::Result<()>;
        let changes: [(&str, bool, Change); 7] = [
            ("nothing", true, |_| Ok(())),
            ("a lost file", false, |root| fs::remove_file(root.join("d/again"))),
            ("a file more", false, |root| fs::write(root.join("more"), "")),
            ("a shorter file", false, |root| File::options().write(true).open(root.join("a"))?.set_len(3)),
            ("another target", false, |root| {
                fs::remove_file(root.join("link"))?;
                std::os::unix::fs::symlink("/b", root.join("link"))
            }),
            ("a file in the place of a directory", false, |root| {
                fs::remove_dir_all(root.join("d"))?;
                fs::write(root.join("d"), "")
            }),
            ("a flipped byte", true, |root| fs::write(root.join("a"), "cOntent")),
        ];
        for (what, same_tree, change) in changes {
            let dir = tempfile::tempdir().expect("tempdir");
            let seal = TreeSeal::of(dir.path(), &tree(dir.path())).expect("seal");
            change(dir.path()).expect(what);
            assert_eq!(seal.fits(dir.path()).expect(what), same_tree, "{what}");
            assert_eq!(read(dir.path(), &seal).expect(what), what == "nothing", "{what}");
        }
        let dir = tempfile::tempdir().expect("tempdir");
        let seal = TreeSeal::of(dir.path(), &tree(dir.path())).expect("seal");
        fs::set_permissions(dir.path().join("a"), fs::Permissions::from_mode(0o4755)).expect("mode");
        assert!(!seal.fits(dir.path()).expect("a mode"));
        assert!(seal.fits(&dir.path().join("none")).is_err(), "a layer that is gone");
    }

    #[test]
    fn a_step_is_bounded_in_bytes_and_in_entries() {
        let dir = tempfile::tempdir().expect("tempdir");
        let sums = tree(dir.path());
        let seal = TreeSeal::of(dir.path(), &sums).expect("seal");
        let mut reading = TreeReading::new(dir.path());
        assert!(reading.step().expect("first"), "the large file is not read at once");
        while reading.step().expect("on") {}
        assert!(reading.fits(&seal));

        let many = tempfile::tempdir().expect("tempdir");
        for name in 0..2 * ENTRIES {
            fs::create_dir(many.path().join(name.to_string())).expect("directory");
        }
        let mut reading = TreeReading::new(many.path());
        assert_eq!([(); 3].map(|()| reading.step().expect("step")), [true, true, false]);
    }
}

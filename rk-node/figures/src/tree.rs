//! What a tree of files takes on its disk.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Bytes of memory for paths that are still to be looked into. Who writes the tree may make paths long and many: what lies below those that
/// find no room is not counted.
const MAX_QUEUED: usize = 64 << 20;
/// Entries between two words on how far the count is.
const STRIDE: u64 = 500;

/// What trees take: bytes and inodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Allocated bytes: holes are left out.
    pub bytes: u64,
    /// Files and directories.
    pub inodes: u64,
}

impl Taken {
    fn of(meta: &fs::Metadata) -> Self {
        Self { bytes: meta.blocks().saturating_mul(512), inodes: 1 }
    }

    /// The more of each.
    #[must_use]
    pub fn or_more(self, other: Self) -> Self {
        Self { bytes: self.bytes.max(other.bytes), inodes: self.inodes.max(other.inodes) }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let bytes = self.bytes.saturating_add(other.bytes);
        Self { bytes, inodes: self.inodes.saturating_add(other.inodes) }
    }
}

/// Counts a tree with its root, on the root's own file system. Links are not followed, and what vanishes meanwhile is not counted.
/// `so_far` hears now and then how much was found until then: large trees take long.
///
/// # Errors
///
/// A root that cannot be looked at.
pub fn count_tree(root: &Path, mut so_far: impl FnMut(Taken)) -> io::Result<Taken> {
    let meta = fs::symlink_metadata(root)?;
    let (device, mut taken) = (meta.dev(), Taken::of(&meta));
    let mut open = Queue { paths: Vec::new(), bytes: 0, most: MAX_QUEUED };
    open.push(root.to_owned());
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if meta.dev() != device {
                continue;
            }
            taken = taken.plus(Taken::of(&meta));
            if taken.inodes.is_multiple_of(STRIDE) {
                so_far(taken);
            }
            if meta.is_dir() {
                open.push(entry.path());
            }
        }
    }
    Ok(taken)
}

/// Directories that are still to be looked into.
struct Queue {
    paths: Vec<PathBuf>,
    bytes: usize,
    most: usize,
}

impl Queue {
    /// Takes one more, if there is room.
    fn push(&mut self, path: PathBuf) {
        let bytes = self.bytes.saturating_add(cost(&path));
        if bytes <= self.most {
            self.bytes = bytes;
            self.paths.push(path);
        }
    }

    fn pop(&mut self) -> Option<PathBuf> {
        let path = self.paths.pop()?;
        self.bytes = self.bytes.saturating_sub(cost(&path));
        Some(path)
    }
}

/// Bytes of memory that a path takes.
fn cost(path: &Path) -> usize {
    path.as_os_str().len() + size_of::<PathBuf>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_counted_with_its_holes_left_out_and_links_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let count = || count_tree(dir.path(), |_| {}).unwrap();
        let before = count().bytes;
        fs::create_dir(dir.path().join("d")).unwrap();
        fs::write(dir.path().join("d/f"), vec![1; 100_000]).unwrap();
        fs::File::create(dir.path().join("hole")).unwrap().set_len(1 << 30).unwrap();
        std::os::unix::fs::symlink("/usr", dir.path().join("away")).unwrap();
        let grown = count();
        assert!((100_000..1_000_000).contains(&(grown.bytes - before)), "{grown:?}");
        assert_eq!(grown.inodes, 5);
        assert!(count_tree(Path::new("/nonexistent"), |_| {}).is_err());
    }

    #[test]
    fn whoever_waits_for_a_large_tree_hears_how_far_its_count_is() {
        let dir = tempfile::tempdir().unwrap();
        for name in 0..2 * STRIDE {
            fs::write(dir.path().join(name.to_string()), "").unwrap();
        }
        let mut heard = Vec::new();
        let all = count_tree(dir.path(), |taken| heard.push(taken.inodes)).unwrap();
        assert_eq!((heard, all.inodes), (vec![STRIDE, 2 * STRIDE], 2 * STRIDE + 1));
    }

    #[test]
    fn what_is_still_to_be_looked_into_takes_no_more_memory_than_it_may() {
        let path = || PathBuf::from("/a");
        let mut queue = Queue { paths: Vec::new(), bytes: 0, most: 2 * cost(&path()) };
        for _ in 0..9 {
            queue.push(path());
        }
        assert_eq!(queue.paths.len(), 2);
        assert_eq!(queue.pop(), Some(path()));
        queue.push(PathBuf::from("/a-longer-one"));
        assert_eq!(queue.pop(), Some(path()));
        queue.push(PathBuf::from("/a-longer-one"));
        assert_eq!((queue.pop().is_some(), queue.pop(), queue.bytes), (true, None, 0));
    }
}

//! How full a file system is, and how much of it one thing takes.

use std::path::Path;

use rustix::fs::statvfs;

/// Bytes and inodes of a file system, or of one thing on it: all, free, used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FsUse {
    /// Bytes: all, free, used.
    pub bytes: [u64; 3],
    /// Inodes: all, free, used.
    pub inodes: [u64; 3],
}

impl FsUse {
    /// The file system that holds `path`; `None` when it cannot be asked.
    pub fn of(path: &Path) -> Option<Self> {
        let all = statvfs(path).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(all.f_frsize);
        Some(Self {
            bytes: [bytes(all.f_blocks), bytes(all.f_bavail), bytes(all.f_blocks.saturating_sub(all.f_bfree))],
            inodes: [all.f_files, all.f_ffree, all.f_files.saturating_sub(all.f_ffree)],
        })
    }

    /// The same file system with what one thing on it takes.
    pub fn with_used(self, bytes: u64, inodes: u64) -> Self {
        let ([all, free, _], [all_inodes, free_inodes, _]) = (self.bytes, self.inodes);
        Self { bytes: [all, free, bytes], inodes: [all_inodes, free_inodes, inodes] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_has_its_own_usage_and_the_room_of_its_file_system() {
        let dir = tempfile::tempdir().unwrap();
        let all = FsUse::of(dir.path()).unwrap();
        assert!(all.bytes[0] >= all.bytes[1] && all.bytes[0] >= all.bytes[2]);
        let mine = all.with_used(7, 2);
        assert_eq!((mine.bytes[0], mine.bytes[2], mine.inodes[0], mine.inodes[2]), (all.bytes[0], 7, all.inodes[0], 2));
        assert_eq!(FsUse::of(Path::new("/nonexistent")), None);
    }
}

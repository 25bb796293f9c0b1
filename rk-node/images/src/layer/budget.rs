//! What one image may take: bytes over all of its layers, and no more of the disk than leaves what must stay free.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::config::Reserve;
use crate::partial::Partial;

/// Bytes of archives between two looks at the disk. An image that is smaller fills no disk, and is not kept from a node that is short.
const STEP: u64 = 16 << 20;

/// Bytes and inodes that may be taken until the next look, by archives whose entries have 4 KiB on the average.
const COMING: (u64, u64) = (STEP, STEP / 4096);

/// As [`COMING`], where the archives are kept beside what they unpack to: they are no larger than that.
const COMING_TWICE: (u64, u64) = (2 * COMING.0, COMING.1);

/// Shared by the layers of one pull.
pub(crate) struct Budget {
    /// A path on the file system that the layers are unpacked to.
    disk: PathBuf,
    most: u64,
    reserve: Reserve,
    taken: AtomicU64,
    /// What is kept of the layers as they come: no image is given up for it.
    kept: Mutex<Vec<Weak<Partial>>>,
}

impl std::fmt::Debug for Budget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Budget").field("disk", &self.disk).field("taken", &self.taken).finish_non_exhaustive()
    }
}

impl Budget {
    /// `most` bytes of archives, unpacked onto the file system of `disk`.
    pub fn new(disk: &Path, most: u64, reserve: Reserve) -> Self {
        Self { disk: disk.to_owned(), most, reserve, taken: AtomicU64::new(0), kept: Mutex::default() }
    }

    /// Something is kept of a layer, until the disk is short.
    pub fn beside(&self, partial: &Arc<Partial>) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(partial));
    }

    /// All that is kept of the layers at present.
    fn kept(&self) -> Vec<Arc<Partial>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|partial| partial.strong_count() > 0);
        kept.iter().filter_map(Weak::upgrade).collect()
    }

    /// Counts bytes of an archive that are about to be unpacked. `FileTooLarge`: the image is too large for any disk of this node;
    /// `StorageFull`: for this one as it is now.
    pub fn take(&self, bytes: u64) -> io::Result<()> {
        let before = self.taken.fetch_add(bytes, Ordering::Relaxed);
        let after = before.saturating_add(bytes);
        if after > self.most {
            return Err(over_budget("the image unpacks to more bytes than allowed".into()));
        }
        if before / STEP == after / STEP {
            return Ok(());
        }
        let kept = self.kept();
        if !kept.is_empty() && self.missed(COMING_TWICE)?.is_some() {
            kept.iter().for_each(|partial| partial.give_up());
        }
        match self.missed(COMING)? {
            Some(problem) => Err(io::Error::new(io::ErrorKind::StorageFull, problem)),
            None => Ok(()),
        }
    }

    /// What would be short on the disk if so many bytes and inodes were taken.
    fn missed(&self, coming: (u64, u64)) -> io::Result<Option<String>> {
        let disk = rustix::fs::statvfs(&self.disk)?;
        let bytes = (disk.f_bavail.saturating_mul(disk.f_frsize), disk.f_blocks.saturating_mul(disk.f_frsize));
        Ok(self.reserve.missed(bytes, (disk.f_favail, disk.f_files), coming))
    }
}

/// Budget errors keep their kind, so that the caller can tell them from a bad archive.
pub(crate) fn over_budget(limit: String) -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Part;

    #[test]
    fn an_image_is_counted_over_its_layers_and_the_disk_is_looked_at_on_the_way() {
        let dir = tempfile::tempdir().expect("tempdir");
        let budget = |most, bytes| {
            let reserve = Reserve { bytes: vec![bytes], inodes: Vec::new() };
            Budget::new(dir.path(), most, reserve)
        };
        let kind = |result: io::Result<()>| result.map_err(|error| error.kind());
        let small = budget(3 << 20, Part::Units(0));
        assert_eq!(kind(small.take(2 << 20)), Ok(()));
        assert_eq!(kind(small.take(1 << 20)), Ok(()), "another layer");
        assert_eq!(kind(small.take(1)), Err(io::ErrorKind::FileTooLarge));
        // No disk has so much free: what is small passes, and what is not is given up.
        let large = budget(u64::MAX, Part::Units(u64::MAX));
        assert_eq!(kind(large.take(STEP - 1)), Ok(()));
        assert_eq!(kind(large.take(1)), Err(io::ErrorKind::StorageFull));
        assert_eq!(kind(budget(u64::MAX, Part::Units(0)).take(5 * STEP)), Ok(()));
    }
}

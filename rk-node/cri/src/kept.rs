//! A record in memory and on disk. Who looks at it never waits for the disk: a list of a node's pods looks at all of them, and a flush is
//! half of what a pod's start waits for.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::Result;

/// A record, the directory of its object, and their way to the disk.
#[derive(Debug)]
pub(crate) struct Kept<T> {
    dir: PathBuf,
    record: Mutex<T>,
    /// Held from a change until it is saved, so that the disk sees changes in their order. Before `record`, where both are needed.
    saving: Mutex<()>,
}

/// Locks, whoever panicked: what is locked here is changed as a whole, so that it is consistent at any moment.
pub(crate) fn locked<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T: Clone> Kept<T> {
    /// A record of the object in `dir`, as it is on disk or will be.
    pub fn new(dir: PathBuf, record: T) -> Self {
        Self { dir, record: Mutex::new(record), saving: Mutex::new(()) }
    }

    /// A copy of the record.
    pub fn get(&self) -> T {
        locked(&self.record).clone()
    }

    /// Looks at the record without a copy.
    pub fn look<R>(&self, at: impl FnOnce(&T) -> R) -> R {
        at(&locked(&self.record))
    }

    /// Changes the record in memory, then on disk by `to_disk`; answers with what it is now, and whether that is saved. The change is seen
    /// at once and stands even if the disk is full.
    pub fn write(&self, change: impl FnOnce(&mut T), to_disk: impl FnOnce(&Path, &T) -> Result<()>) -> (T, Result<()>) {
        let _in_turn = locked(&self.saving);
        let changed = {
            let mut record = locked(&self.record);
            change(&mut record);
            record.clone()
        };
        let saved = to_disk(&self.dir, &changed);
        (changed, saved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn a_record_is_looked_at_while_it_is_saved_and_saved_in_turn() {
        let kept = Kept::new("/objects/o".into(), 1);
        let (now, saved) = kept.write(
            |record| *record += 1,
            |dir, record| {
                assert_eq!((dir, *record), (Path::new("/objects/o"), 2));
                assert_eq!(kept.record.try_lock().map(|seen| *seen).ok(), Some(2), "nobody waits to look at it");
                assert!(kept.saving.try_lock().is_err(), "another change waits for its turn");
                Ok(())
            },
        );
        assert!(now == 2 && saved.is_ok());
    }

    #[test]
    fn a_change_stands_that_is_not_saved() {
        let kept = Kept::new(PathBuf::new(), 1);
        let (now, saved) = kept.write(|record| *record = 7, |_, _| Err(Error::Internal("the disk is full".into())));
        assert!(saved.is_err());
        assert_eq!((now, kept.get(), kept.look(|record| *record)), (7, 7, 7));
    }
}

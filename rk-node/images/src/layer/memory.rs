//! What layers on their way take of memory: each, and all at once.

use std::{
    io,
    sync::atomic::{AtomicUsize, Ordering},
};

use super::budget::over_budget;

/// Most bytes of memory for the names, links and attributes of one layer: two million files with names of 16 bytes.
const MAX_MEMORY: usize = 384 << 20;

/// As [`MAX_MEMORY`], of all layers that are unpacked at once.
const MAX_OF_ALL: usize = 2 * MAX_MEMORY;

/// What these take now.
static ALL: AtomicUsize = AtomicUsize::new(0);

/// A part of the memory that all layers have together; given back in the end.
pub(super) struct Share {
    all: &'static AtomicUsize,
    own: usize,
}

impl Default for Share {
    fn default() -> Self {
        Self { all: &ALL, own: 0 }
    }
}

impl Share {
    /// Takes so much in all, unless that is too much.
    ///
    /// # Errors
    /// `FileTooLarge`: for any layer; `OutOfMemory`: beside the others.
    pub fn grow(&mut self, own: usize) -> io::Result<()> {
        if own > MAX_MEMORY {
            let limit = format!("names, links and attributes take more than {MAX_MEMORY} bytes of memory");
            return Err(over_budget(limit));
        }
        let more = own.saturating_sub(self.own);
        self.own += more;
        if self.all.fetch_add(more, Ordering::Relaxed).saturating_add(more) > MAX_OF_ALL {
            let limit =
                format!("names, links and attributes of all layers take more than {MAX_OF_ALL} bytes of memory");
            return Err(io::Error::new(io::ErrorKind::OutOfMemory, limit));
        }
        Ok(())
    }

    /// As [`Share::grow`], so much more than before.
    pub fn take(&mut self, more: usize) -> io::Result<()> {
        self.grow(self.own.saturating_add(more))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.all.fetch_sub(self.own, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_have_their_memory_together_and_give_it_back() {
        static SOME: AtomicUsize = AtomicUsize::new(0);
        let share = || Share { all: &SOME, own: 0 };
        let kind = |result: io::Result<()>| result.map_err(|error| error.kind());
        let mut shares = [share(), share(), share()];
        let [first, second, third] = &mut shares;
        assert_eq!(kind(first.grow(MAX_MEMORY + 1)), Err(io::ErrorKind::FileTooLarge));
        assert_eq!((kind(first.grow(9)), kind(first.take(1)), kind(first.grow(9))), (Ok(()), Ok(()), Ok(())));
        assert_eq!((SOME.load(Ordering::Relaxed), kind(first.take(MAX_MEMORY - 10))), (10, Ok(())));
        assert_eq!(kind(first.take(1)), Err(io::ErrorKind::FileTooLarge));
        assert_eq!(kind(second.grow(MAX_MEMORY)), Ok(()));
        assert_eq!(kind(third.grow(1)), Err(io::ErrorKind::OutOfMemory));
        drop(shares);
        assert_eq!(SOME.load(Ordering::Relaxed), 0);
        assert_eq!(kind(share().grow(MAX_MEMORY)), Ok(()));
    }
}

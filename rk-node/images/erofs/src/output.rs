//! Where an image goes.

use std::io::{self, Write};

/// Takes an image from its second block on, one byte after the other.
pub trait Output: Write {
    /// So many zeros, which need not be stored.
    ///
    /// # Errors
    /// As of a write.
    fn hole(&mut self, bytes: u64) -> io::Result<()>;
}

impl Output for Vec<u8> {
    fn hole(&mut self, bytes: u64) -> io::Result<()> {
        let bytes = usize::try_from(bytes).map_err(|_| io::ErrorKind::OutOfMemory)?;
        self.resize(self.len() + bytes, 0);
        Ok(())
    }
}

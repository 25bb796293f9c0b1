//! Bytes on their way to a file, and their sum.

use std::io::{self, Write};

use flate2::Crc;

use super::seal::zeros;

/// A writer, and the sum of what it took.
pub(super) struct Summed<W> {
    pub out: W,
    pub crc: Crc,
}

impl<W> Summed<W> {
    /// The sum of nothing yet.
    pub fn new(out: W) -> Self {
        Self { out, crc: Crc::new() }
    }

    /// Sums a hole, which whoever reads sees as zeros; the writer's place is the caller's to move.
    pub fn skip(&mut self, bytes: u64) {
        zeros(&mut self.crc, bytes);
    }
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.crc.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

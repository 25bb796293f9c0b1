//! What a layer that is one file was when it was committed.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
    path::Path,
};

use flate2::Crc;
use rk_erofs::BLOCK;
use serde::{Deserialize, Serialize};

use crate::{blob::Hasher, reference::Digest};

/// Bytes that are read at once.
const BUFFER: u64 = 64 << 10;

/// Size and sums of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileSeal {
    /// Bytes.
    size: u64,
    /// Where that begins which is not contents of files.
    metadata_at: u64,
    /// Of the first block and of all from `metadata_at` on: what the kernel goes by.
    metadata: Digest,
    /// CRC-32 of all bytes, those of the first block last.
    crc: u32,
}

impl FileSeal {
    /// Seals a file that was just written.
    pub fn of(file: &File, size: u64, metadata_at: u64, crc: u32) -> io::Result<Self> {
        Ok(Self { size, metadata_at, metadata: metadata(file, metadata_at, size)?, crc })
    }

    /// Whether the file is still what it was, contents aside.
    pub fn fits(&self, path: &Path) -> io::Result<bool> {
        let file = File::open(path)?;
        Ok(file.metadata()?.len() == self.size && metadata(&file, self.metadata_at, self.size)? == self.metadata)
    }

    /// Whether this is the sum of all.
    pub fn fits_all(&self, size: u64, crc: u32) -> bool {
        (self.size, self.crc) == (size, crc)
    }
}

fn metadata(file: &File, from: u64, to: u64) -> io::Result<Digest> {
    let mut hasher = Hasher::Sha256(Default::default());
    for (from, to) in [(0, BLOCK), (from, to)] {
        let mut at = from;
        let mut buffer = vec![0; BUFFER as usize];
        while at < to {
            let piece = buffer.get_mut(..(to - at).min(BUFFER) as usize).unwrap_or_default();
            file.read_exact_at(piece, at)?;
            hasher.update(piece);
            at += piece.len() as u64;
        }
    }
    Ok(hasher.finish())
}

/// A file that is read again, a step at a time.
pub(crate) struct FileReading {
    file: File,
    at: u64,
    /// The first block, whose sum comes last.
    first: Vec<u8>,
    crc: Crc,
    buffer: Vec<u8>,
}

impl FileReading {
    /// Begins to read.
    pub fn new(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        // Containers read the disk past what is left in memory of the file since it was written, so that is not asked.
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
        let mut first = Vec::new();
        (&mut file).take(BLOCK).read_to_end(&mut first)?;
        Ok(Self { file, at: first.len() as u64, first, crc: Crc::new(), buffer: vec![0; BUFFER as usize] })
    }

    /// Reads on, so many bytes or a few more; whether there is more.
    pub fn step(&mut self, bytes: u64) -> io::Result<bool> {
        let from = self.at;
        while self.at < from + bytes {
            let read = self.file.read(&mut self.buffer)?;
            if read == 0 {
                self.crc.update(&std::mem::take(&mut self.first));
                return Ok(false);
            }
            self.crc.update(self.buffer.get(..read).unwrap_or_default());
            self.at += read as u64;
        }
        // What nobody uses is not kept in memory on our account; not every file system has a say in it.
        let length = std::num::NonZeroU64::new(self.at - from);
        let _ = rustix::fs::fadvise(&self.file, from, length, rustix::fs::Advice::DontNeed);
        Ok(true)
    }

    /// Whether what was read to its end is what was sealed.
    pub fn fits(&self, seal: &FileSeal) -> bool {
        seal.fits_all(self.at, self.crc.sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where metadata begins, in a file of a little more than two steps.
    const METADATA: u64 = 2 << 20;
    const SIZE: u64 = METADATA + 3 * BLOCK + 5;
    const STEP: u64 = 1 << 20;

    fn sealed(path: &Path) -> FileSeal {
        let bytes: Vec<u8> = (0..SIZE).map(|n| (n % 251) as u8).collect();
        std::fs::write(path, &bytes).expect("write");
        let (first, rest) = bytes.split_at(BLOCK as usize);
        let mut crc = Crc::new();
        crc.update(rest);
        crc.update(first);
        FileSeal::of(&File::open(path).expect("open"), SIZE, METADATA, crc.sum()).expect("seal")
    }

    fn flip(path: &Path, at: u64) {
        let file = File::options().read(true).write(true).open(path).expect("open");
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).expect("read");
        file.write_all_at(&[byte[0] ^ 1], at).expect("write");
    }

    fn resize(path: &Path, size: u64) {
        File::options().write(true).open(path).and_then(|file| file.set_len(size)).expect("size");
    }

    /// Whether a file that is read again fits, and in how many steps it was read.
    fn read(path: &Path, seal: &FileSeal) -> (bool, usize) {
        let mut reading = FileReading::new(path).expect("open");
        let mut steps = 1;
        while reading.step(STEP).expect("read") {
            steps += 1;
        }
        (reading.fits(seal), steps)
    }

    #[test]
    fn a_file_is_looked_at_where_the_kernel_looks_and_read_as_a_whole() {
        type Change = fn(&Path);
        let changes: [(&str, bool, bool, Change); 7] = [
            ("nothing", true, true, |_| {}),
            ("the superblock", false, false, |path| flip(path, 1024)),
            ("contents", true, false, |path| flip(path, BLOCK)),
            ("the last of the contents", true, false, |path| flip(path, METADATA - 1)),
            ("an inode", false, false, |path| flip(path, METADATA)),
            ("the end", false, false, |path| resize(path, SIZE - 1)),
            ("more", false, false, |path| resize(path, SIZE + 1)),
        ];
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("file");
        for (what, looks_right, is_right, change) in changes {
            let seal = sealed(&path);
            change(&path);
            assert_eq!(seal.fits(&path).expect(what), looks_right, "{what}");
            assert_eq!(read(&path, &seal), (is_right, 3), "{what}");
        }
        let seal = sealed(&path);
        resize(&path, 0);
        assert!(!seal.fits(&path).expect("nothing is left") && !read(&path, &seal).0);
        std::fs::remove_file(&path).expect("remove");
        assert!(seal.fits(&path).is_err() && FileReading::new(&path).is_err(), "it is gone");
    }
}

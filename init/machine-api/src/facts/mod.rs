//! What the kernel knows about the machine. Each module reads a few files of `/proc` or `/sys` and has a pure parser.

pub mod clock;
pub mod cpu;
pub mod disks;
pub mod links;
pub mod memory;
pub mod mounts;
pub mod processes;
pub mod sockets;

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Reads a text of at most `most` bytes; empty when it is not there.
pub(crate) fn text(path: impl AsRef<Path>, most: u64) -> String {
    let mut bytes = Vec::new();
    if let Ok(file) = File::open(path) {
        // What was read before an error is of use as well.
        let _ = file.take(most).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads one trimmed line, bounded.
pub(crate) fn line(path: impl AsRef<Path>) -> String {
    text(path, 4096).lines().next().unwrap_or_default().trim().to_owned()
}

/// The number that follows `key` in a text of `key value` lines.
pub(crate) fn value(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.split_whitespace().next()?.parse().ok())
}

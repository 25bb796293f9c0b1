//! Archives that a kernel unpacks before it starts `/init`.

use crate::cpio::{Cpio, Node};
use anyhow::{Context, Result};

/// `/init` compressed, then the root image as it is: it is compressed itself.
///
/// # Errors
/// The compressor fails.
pub fn with_root(init: &[u8], root: &[u8]) -> Result<Vec<u8>> {
    Ok(and_root(bare(init)?, root))
}

/// What [`bare`] made, and the root image behind it.
pub fn and_root(bare: Vec<u8>, root: &[u8]) -> Vec<u8> {
    let mut archive = bare;
    let mut second = Cpio::default();
    second.add("root.erofs", 0o400, Node::File(root));
    archive.extend_from_slice(&second.finish());
    archive
}

/// `/init` alone, for a root that lies on a disk. It is PID 1 in both stages: the root holds no other copy.
///
/// # Errors
/// The compressor fails.
pub fn bare(init: &[u8]) -> Result<Vec<u8>> {
    let mut cpio = Cpio::default();
    cpio.add("dev", 0o755, Node::Dir);
    // So that PID 1 can speak before it has mounted anything.
    cpio.add("dev/console", 0o600, Node::CharDevice(5, 1));
    cpio.add("proc", 0o555, Node::Dir);
    cpio.add("sys", 0o555, Node::Dir);
    cpio.add("sysroot", 0o755, Node::Dir);
    cpio.add("init", 0o755, Node::File(init));
    let mut archive = zstd::bulk::compress(&cpio.finish(), 19).context("compressing /init")?;
    // The kernel looks for a plain archive at multiples of four.
    archive.resize(archive.len().next_multiple_of(4), 0);
    Ok(archive)
}

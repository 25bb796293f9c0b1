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
    and_file(bare, "root.erofs", root)
}

/// An initramfs, and a machine config behind what it holds; it takes the place of one that is there.
pub fn and_config(archive: Vec<u8>, config: &str) -> Vec<u8> {
    and_file(archive, "machine.yaml", config.as_bytes())
}

/// The kernel unpacks archives in a row, and the last file of a name is the one that stays.
fn and_file(mut archive: Vec<u8>, name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut more = Cpio::default();
    more.add(name, 0o400, Node::File(bytes));
    archive.extend_from_slice(&more.finish());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_lies_behind_pid_1_and_before_the_root_and_each_archive_begins_where_the_kernel_looks() {
        let starter = vec![7; 12];
        let archive = and_root(and_config(starter.clone(), "role: worker\n"), b"root");
        let at = |wanted: &[u8]| archive.windows(wanted.len()).position(|part| part == wanted).unwrap();
        assert!(archive.starts_with(&starter));
        assert!(at(b"machine.yaml\0") < at(b"role: worker\n") && at(b"role: worker\n") < at(b"root.erofs\0"));
        let begins = |name: &[u8]| (at(name) - 110) % 4;
        assert_eq!((begins(b"machine.yaml\0"), begins(b"root.erofs\0")), (0, 0));
    }
}

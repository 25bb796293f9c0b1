//! Archives that a kernel unpacks before it starts `/init`.

use crate::cpio::{Cpio, Node};
use anyhow::{Context, Result};
use std::ops::Range;

/// Name of a machine config, as PID 1 looks for it.
const CONFIG: &str = "machine.yaml";

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

/// An initramfs, and a machine config behind what it holds. One that is there goes: who has a medium can read all of it, and the kernel
/// would pass over an earlier config and leave it there.
pub fn and_config(mut archive: Vec<u8>, config: &str) -> Vec<u8> {
    while let Some(place) = place_of_config(&archive) {
        archive.drain(place);
    }
    and_file(archive, CONFIG, config.as_bytes())
}

/// Whether an initramfs has a machine config of [`and_config`].
pub fn has_config(archive: &[u8]) -> bool {
    place_of_config(archive).is_some()
}

/// Where the archive of a config lies that [`and_config`] put there.
fn place_of_config(archive: &[u8]) -> Option<Range<usize>> {
    /// Bytes of a header before the size, its digits, and where the name begins.
    const SIZE_AT: usize = 54;
    const SIZE: usize = 8;
    const NAME_AT: usize = 110;
    let empty = and_file(Vec::new(), CONFIG, &[]);
    let (head, name) = (empty.get(..SIZE_AT)?, empty.get(NAME_AT..=NAME_AT + CONFIG.len())?);
    let start =
        archive.windows(NAME_AT + name.len()).position(|part| part.starts_with(head) && part.ends_with(name))?;
    let size =
        archive.get(start + SIZE_AT..start + SIZE_AT + SIZE).and_then(|digits| std::str::from_utf8(digits).ok())?;
    let size = usize::try_from(u32::from_str_radix(size, 16).ok()?).ok()?;
    let end = start + empty.len() + size.next_multiple_of(4);
    (end <= archive.len()).then_some(start..end)
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

    #[test]
    fn of_a_config_that_another_one_replaces_nothing_is_left() {
        let starter = vec![7; 12];
        let wanted = and_config(starter.clone(), "role: worker\n");
        let replaced = and_config(and_config(starter.clone(), "key: of the control plane\n"), "role: worker\n");
        assert_eq!(replaced, wanted);
        assert!(has_config(&wanted) && !has_config(&starter));
        let behind =
            and_config(and_root(and_config(starter.clone(), "key: of the control plane\n"), b"root"), "role: worker\n");
        assert_eq!(behind, and_config(and_root(starter, b"root"), "role: worker\n"));
    }
}

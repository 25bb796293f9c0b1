//! What an image may weigh that leaves this machine: one with link-time optimisation.
//!
//! The budgets of `docs/benchmarks.md` are 20 MB for the UKI and 24 MB for the ISO. These are what was reached, with a little room, so that
//! an image grows by somebody's decision alone: who makes it larger writes the new number here, and why into `docs/benchmarks.md`.

use anyhow::{Context, Result, bail};
use std::path::Path;

/// Names of files and their most bytes.
const MOST: [(&str, u64); 5] = [
    ("bzImage", 6_900_000),
    ("vmlinuz", 6_900_000),
    ("initramfs", 13_140_000),
    // Kernel and initramfs, the EFI stub; the ISO adds GRUB and what it needs behind the content.
    ("rk.efi", 20_000_000),
    ("rk.iso", 20_600_000),
];

/// Weighs those of the files that have a most.
///
/// # Errors
/// Some are heavier (all of them are named), or cannot be read.
pub fn weigh<P: AsRef<Path>>(files: &[P]) -> Result<()> {
    let mut heavy = Vec::new();
    for file in files {
        let file = file.as_ref();
        let bytes = std::fs::metadata(file).with_context(|| format!("size of {}", file.display()))?.len();
        heavy.extend(too_heavy(file, bytes));
    }
    if heavy.is_empty() {
        return Ok(());
    }
    bail!("the image has grown beyond what tests/xtask/src/setup/weights.rs holds it to:\n{}", heavy.join("\n"))
}

fn too_heavy(file: &Path, bytes: u64) -> Option<String> {
    let name = file.file_name()?.to_str()?;
    let (_, most) = MOST.iter().find(|(known, _)| *known == name)?;
    let mb = |bytes: u64| bytes as f64 / 1e6;
    (bytes > *most).then(|| format!("{} has {:.2} MB, of {:.2} at most", file.display(), mb(bytes), mb(*most)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_grew_is_named_and_one_that_nobody_holds_is_not() {
        let told = too_heavy(Path::new("/out/pxe/initramfs"), 13_140_001).expect("too heavy");
        assert_eq!(told, "/out/pxe/initramfs has 13.14 MB, of 13.14 at most");
        assert_eq!(too_heavy(Path::new("/out/pxe/initramfs"), 13_140_000), None);
        assert_eq!(too_heavy(Path::new("/out/rk.raw"), 1 << 40), None);
    }

    #[test]
    fn all_that_grew_are_told_at_once() {
        let dir = tempfile::tempdir().expect("dir");
        let file = |name: &str, bytes: u64| {
            let path = dir.path().join(name);
            std::fs::File::create(&path).and_then(|file| file.set_len(bytes)).expect("a sparse file");
            path
        };
        let (light, heavy) = (file("rk.raw", 1 << 30), [file("rk.efi", 1 << 30), file("rk.iso", 1 << 30)]);
        assert!(weigh(&[light]).is_ok());
        let said = format!("{:#}", weigh(&heavy).expect_err("too heavy"));
        assert!(said.contains("rk.efi has 1073.74 MB") && said.contains("rk.iso has"), "{said}");
        assert!(weigh(&[dir.path().join("none")]).is_err());
    }
}

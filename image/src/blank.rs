//! Empty file systems that a node makes by writing them: encrypted partitions begin with one.
//!
//! `mkfs.ext4` makes them small when the image is built; a node grows them to their partition when it mounts them. They lie in the
//! root as the number of blocks, and of each block that is not all zeros its number and its bytes, so that they take a few KiB.

use crate::program::{Program, run};
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

const BLOCK: usize = 4096;
/// Label, MiB, MiB of journal. STATE has a partition of 64 MiB, of which a LUKS2 header takes four.
const KINDS: [(&str, u64, &str, &str); 2] = [
    ("RK-STATE", 32, "4", "726b0000-0000-4000-8000-000000000002"),
    ("RK-DATA", 48, "16", "726b0000-0000-4000-8000-000000000003"),
];
/// Blocks up to which descriptors of block groups have room: 1 TiB. Beyond, the kernel places them elsewhere.
const MOST_BLOCKS: &str = "resize=268435456";

/// Writes `<label>.ext4` of each into `folder`.
///
/// # Errors
/// `mkfs.ext4` is missing or fails, the disk is full.
pub fn write(folder: &Path) -> Result<Vec<std::path::PathBuf>> {
    KINDS.iter().map(|(label, mib, journal, id)| one(folder, label, *mib, journal, id)).collect()
}

fn one(folder: &Path, label: &str, mib: u64, journal: &str, id: &str) -> Result<std::path::PathBuf> {
    let work = tempfile::NamedTempFile::new().context("making a work file")?;
    work.as_file().set_len(mib << 20).context("sizing a work file")?;
    let mut command = Program::own("mkfs.ext4").command()?;
    command.args(["-q", "-F", "-L", label, "-m", "0", "-b", "4096", "-J", &format!("size={journal}"), "-U", id]);
    // An inode for every 16 KiB of a group of blocks, as larger file systems have.
    command.args(["-N", "8192"]).arg("-E").arg(format!("hash_seed={id},lazy_itable_init=1,nodiscard,{MOST_BLOCKS}"));
    command.arg(work.path()).env("E2FSPROGS_FAKE_TIME", "1735689600").env("SOURCE_DATE_EPOCH", "1735689600");
    run("mkfs.ext4 (package e2fsprogs)", &mut command)?;
    let packed = pack(&fs::read(work.path()).context("reading a work file")?)?;
    let path = folder.join(format!("{label}.ext4"));
    fs::write(&path, packed).with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}

fn pack(image: &[u8]) -> Result<Vec<u8>> {
    let blocks = image.chunks(BLOCK);
    let mut packed = u32::try_from(blocks.len())?.to_le_bytes().to_vec();
    for (number, block) in blocks.enumerate().filter(|(_, block)| block.iter().any(|byte| *byte != 0)) {
        packed.extend(u32::try_from(number)?.to_le_bytes());
        packed.extend_from_slice(block);
        packed.resize(packed.len() + BLOCK - block.len(), 0);
    }
    Ok(packed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_blocks_that_hold_something_are_kept_each_with_its_number() {
        let mut image = vec![0; 5 * BLOCK];
        image[BLOCK] = 1;
        image[4 * BLOCK + 9] = 2;
        let packed = pack(&image).unwrap();
        assert_eq!(packed.len(), 4 + 2 * (4 + BLOCK));
        assert_eq!((&packed[..4], &packed[4..8], packed[8]), ([5, 0, 0, 0].as_slice(), [1, 0, 0, 0].as_slice(), 1));
        assert_eq!(&packed[8 + BLOCK..12 + BLOCK], [4, 0, 0, 0]);
    }

    #[test]
    fn file_systems_take_little_room_and_are_made_alike_every_time() {
        let dir = tempfile::tempdir().unwrap();
        let first: Vec<Vec<u8>> = write(dir.path()).unwrap().iter().map(|path| fs::read(path).unwrap()).collect();
        let second: Vec<Vec<u8>> = write(dir.path()).unwrap().iter().map(|path| fs::read(path).unwrap()).collect();
        assert!(first == second, "two runs differ");
        assert!(
            first.iter().all(|packed| packed.len() < 512 << 10),
            "{:?}",
            first.iter().map(Vec::len).collect::<Vec<_>>()
        );
    }
}

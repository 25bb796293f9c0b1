//! New file systems: written from what `mkfs.ext4` made when the image was built, and grown to their device when mounted.
//!
//! `/usr/share/rk/<label>.ext4` is the number of blocks, and then for each block that is not all zeros its number and its bytes;
//! numbers are little-endian and of four bytes, blocks of 4096.

use super::at;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

const FOLDER: &str = "/usr/share/rk";
const BLOCK: usize = 4096;
/// Written at once.
const STEP: usize = 256;
/// Blocks of a template; ours have a fraction.
const MOST_BLOCKS: u32 = 1 << 16;
const MOST_BYTES: u64 = 64 << 20;

/// Writes an empty file system to a device, zeros and all: what lay there before is random to it.
pub fn write(device: &Path, label: &str) -> Result<String, String> {
    let path = Path::new(FOLDER).join(format!("{label}.ext4"));
    let mut bytes = Vec::new();
    at(path.display(), File::open(&path).and_then(|file| file.take(MOST_BYTES).read_to_end(&mut bytes)))?;
    let mut file = at(device.display(), File::options().write(true).open(device))?;
    let written = unpack(&bytes, &mut file).and_then(|()| file.sync_all());
    at(format_args!("writing {}", device.display()), written)?;
    Ok(String::new())
}

fn unpack(bytes: &[u8], to: &mut (impl Write + Seek)) -> std::io::Result<()> {
    let torn = || std::io::Error::new(std::io::ErrorKind::InvalidData, "the template of the file system is torn");
    let (total, mut rest) = number(bytes).filter(|(total, _)| *total <= MOST_BLOCKS).ok_or_else(torn)?;
    let mut first = 0;
    to.seek(SeekFrom::Start(0))?;
    while first < total {
        let count = STEP.min((total - first) as usize);
        let mut step = vec![0; count * BLOCK];
        while let Some((block, after)) = number(rest) {
            let Some(place) = block.checked_sub(first).map(|n| n as usize).filter(|n| *n < count) else { break };
            let (data, after) = after.split_at_checked(BLOCK).ok_or_else(torn)?;
            step.get_mut(place * BLOCK..(place + 1) * BLOCK).ok_or_else(torn)?.copy_from_slice(data);
            rest = after;
        }
        to.write_all(&step)?;
        first += count as u32;
    }
    if rest.is_empty() { Ok(()) } else { Err(torn()) }
}

fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_at_checked(4)?;
    Some((u32::from_le_bytes(number.try_into().ok()?), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(total: u32, blocks: &[(u32, u8)]) -> Vec<u8> {
        let mut bytes = total.to_le_bytes().to_vec();
        for (block, byte) in blocks {
            bytes.extend(block.to_le_bytes());
            bytes.extend([*byte; BLOCK]);
        }
        bytes
    }

    #[test]
    fn blocks_land_in_their_place_and_all_others_are_zeros() {
        let mut disk = std::io::Cursor::new(vec![9; 600 * BLOCK]);
        unpack(&template(550, &[(0, 1), (255, 2), (256, 3), (549, 4)]), &mut disk).unwrap();
        let disk = disk.into_inner();
        let byte = |block: usize| disk[block * BLOCK + 7];
        assert_eq!([0, 1, 255, 256, 549, 550].map(byte), [1, 0, 2, 3, 4, 9]);
    }

    #[test]
    fn torn_templates_are_refused() {
        let whole = template(4, &[(1, 1), (2, 2)]);
        for size in [0, 3, 5, whole.len() - 1] {
            assert!(unpack(&whole[..size], &mut std::io::Cursor::new(vec![0; 64])).is_err(), "{size}");
        }
        for odd in [template(4, &[(4, 1)]), template(u32::MAX, &[])] {
            assert!(unpack(&odd, &mut std::io::Cursor::new(vec![0; 64])).is_err());
        }
    }
}

//! The superblock, 1024 bytes into the first block.

use crate::{BLOCK, checksum::crc32c};

const OFFSET: usize = 1024;
const MAGIC: u32 = 0xe0f5_e1e2;
/// The superblock has a sum, and inodes the time of their change.
const FEATURES: u32 = 0x1 | 0x2;

/// What the superblock tells.
pub(crate) struct Superblock {
    /// Number of the root's inode.
    pub root: u16,
    pub inodes: u64,
    /// Blocks of the whole image.
    pub blocks: u32,
    /// The block that inodes are counted from.
    pub metadata: u32,
    pub uuid: [u8; 16],
}

impl Superblock {
    /// The image's first block.
    pub fn encode(&self) -> Vec<u8> {
        let mut block = vec![0; BLOCK as usize];
        let mut put = |at: usize, bytes: &[u8]| {
            block.iter_mut().skip(OFFSET + at).zip(bytes).for_each(|(to, from)| *to = *from);
        };
        put(0, &MAGIC.to_le_bytes());
        put(8, &FEATURES.to_le_bytes());
        put(12, &[BLOCK.trailing_zeros() as u8]);
        put(14, &self.root.to_le_bytes());
        put(16, &self.inodes.to_le_bytes());
        put(36, &self.blocks.to_le_bytes());
        put(40, &self.metadata.to_le_bytes());
        put(44, &self.metadata.to_le_bytes());
        put(48, &self.uuid);
        let sum = crc32c(block.get(OFFSET..).unwrap_or_default());
        block.iter_mut().skip(OFFSET + 4).zip(sum.to_le_bytes()).for_each(|(to, from)| *to = from);
        block
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_covers_the_rest_of_the_block_as_if_it_were_zero() {
        let told = Superblock { root: 1, inodes: 3, blocks: 9, metadata: 7, uuid: [5; 16] };
        let mut block = told.encode();
        assert_eq!(block.len() as u64, BLOCK);
        assert_eq!(block[OFFSET..OFFSET + 4], [0xe2, 0xe1, 0xf5, 0xe0]);
        let sum: [u8; 4] = block[OFFSET + 4..OFFSET + 8].try_into().expect("four");
        block[OFFSET + 4..OFFSET + 8].fill(0);
        assert_eq!(u32::from_le_bytes(sum), crc32c(&block[OFFSET..]));
    }
}

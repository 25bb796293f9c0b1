//! dm-verity hash trees, as the kernel's `verity` target reads them (format 1, SHA-256, no salt, no superblock).
//!
//! No salt, because one root must give one hash: salts hinder precomputed collisions, which SHA-256 does not know.

use sha2::{Digest, Sha256};

/// Bytes of a data block and of a hash block.
pub const BLOCK: usize = 4096;
const DIGEST: usize = 32;
const PER_BLOCK: usize = BLOCK / DIGEST;

/// A tree over some data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// Digest of the topmost block: whoever trusts it can trust every block below.
    pub root: [u8; DIGEST],
    /// Data blocks that it covers.
    pub blocks: u64,
    /// The levels, topmost first, in whole blocks.
    pub bytes: Vec<u8>,
}

/// Computes the tree of `data`, whose last block is taken as filled up with zeros.
pub fn tree(data: &[u8]) -> Tree {
    let mut levels = vec![level(data)];
    // The level that fits one block is the top; data of one block has that one block above it too.
    while let Some(below) = levels.last().filter(|level| level.len() > BLOCK) {
        let next = level(below);
        levels.push(next);
    }
    let top = levels.last().map(Vec::as_slice).unwrap_or_default();
    let root = Sha256::digest(top).into();
    Tree { root, blocks: data.len().div_ceil(BLOCK) as u64, bytes: levels.into_iter().rev().flatten().collect() }
}

/// The digests of all blocks, 128 to a block.
fn level(data: &[u8]) -> Vec<u8> {
    let mut digests: Vec<u8> = Vec::with_capacity(data.len() / PER_BLOCK + BLOCK);
    for block in data.chunks(BLOCK) {
        let mut hasher = Sha256::new();
        hasher.update(block);
        hasher.update(&[0; BLOCK][..BLOCK - block.len()]);
        digests.extend_from_slice(&hasher.finalize());
    }
    digests.resize(digests.len().next_multiple_of(BLOCK), 0);
    digests
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_stacked_until_one_block_holds_them() {
        for (blocks, tree_blocks) in [(1_usize, 1_usize), (128, 1), (129, 3)] {
            let data = vec![7; blocks * BLOCK];
            let tree = tree(&data);
            assert_eq!(tree.bytes.len(), tree_blocks * BLOCK, "{blocks} blocks");
            assert_eq!(tree.blocks, blocks as u64);
            assert_eq!(<[u8; 32]>::from(Sha256::digest(&tree.bytes[..BLOCK])), tree.root);
        }
    }

    #[test]
    fn any_flipped_bit_changes_the_root() {
        let mut data = vec![0; 300 * BLOCK + 5];
        let before = tree(&data).root;
        data[299 * BLOCK + 17] ^= 0x10;
        assert_ne!(tree(&data).root, before);
    }
}

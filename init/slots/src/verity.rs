//! dm-verity hash trees, as the kernel's `verity` target reads them (format 1, SHA-256, no superblock).
//!
//! The salt is no secret: it makes the trees of one root under two kernels differ, so that each slot is known by its own.

use sha2::{Digest, Sha256};

/// Bytes of a data block and of a hash block.
pub const BLOCK: usize = 4096;
const DIGEST: usize = 32;
const PER_BLOCK: usize = BLOCK / DIGEST;

/// A tree over some data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// Digest of the topmost block; trust in it extends to every block below.
    pub root: [u8; DIGEST],
    /// Data blocks that it covers.
    pub blocks: u64,
    /// The levels, topmost first, in whole blocks.
    pub bytes: Vec<u8>,
}

/// Computes the tree of `data`, whose last block is taken as filled up with zeros.
pub fn tree(data: &[u8], salt: &[u8]) -> Tree {
    let mut leaves = Leaves::new(salt);
    leaves.add(data);
    leaves.tree()
}

/// Blocks of a tree over so many data blocks.
pub fn tree_blocks(blocks: u64) -> u64 {
    let mut level = blocks.div_ceil(PER_BLOCK as u64);
    let mut sum = level;
    while level > 1 {
        level = level.div_ceil(PER_BLOCK as u64);
        sum += level;
    }
    sum
}

/// The lowest level, made piece by piece: data need not be in memory at once.
#[derive(Debug)]
pub struct Leaves {
    salted: Sha256,
    digests: Vec<u8>,
    blocks: u64,
}

impl Leaves {
    /// None yet.
    pub fn new(salt: &[u8]) -> Leaves {
        Leaves { salted: Sha256::new_with_prefix(salt), digests: Vec::new(), blocks: 0 }
    }

    /// Adds whole blocks; only the last piece may end within one.
    pub fn add(&mut self, data: &[u8]) {
        digest_blocks(&self.salted, data, &mut self.digests);
        self.blocks += data.len().div_ceil(BLOCK) as u64;
    }

    /// The whole tree.
    pub fn tree(mut self) -> Tree {
        self.digests.resize(self.digests.len().next_multiple_of(BLOCK), 0);
        let mut levels = vec![self.digests];
        // The level that fits one block is the top; data of one block has that one block above it too.
        while let Some(below) = levels.last().filter(|level| level.len() > BLOCK) {
            let mut next = Vec::with_capacity(below.len() / PER_BLOCK + BLOCK);
            digest_blocks(&self.salted, below, &mut next);
            next.resize(next.len().next_multiple_of(BLOCK), 0);
            levels.push(next);
        }
        let top = levels.last().map(Vec::as_slice).unwrap_or_default();
        let root = self.salted.chain_update(top).finalize().into();
        Tree { root, blocks: self.blocks, bytes: levels.into_iter().rev().flatten().collect() }
    }
}

/// SHA-256 of a block behind its salt.
pub fn digest(salt: &[u8], block: &[u8]) -> [u8; DIGEST] {
    Sha256::new_with_prefix(salt).chain_update(block).finalize().into()
}

fn digest_blocks(salted: &Sha256, data: &[u8], digests: &mut Vec<u8>) {
    for block in data.chunks(BLOCK) {
        let mut hasher = salted.clone();
        hasher.update(block);
        hasher.update([0; BLOCK].get(block.len()..).unwrap_or_default());
        digests.extend_from_slice(&hasher.finalize());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_stacked_until_one_block_holds_them() {
        for (blocks, wanted) in [(1_usize, 1_usize), (128, 1), (129, 3)] {
            let data = vec![7; blocks * BLOCK];
            let tree = tree(&data, b"salt");
            assert_eq!(tree.bytes.len(), wanted * BLOCK, "{blocks} blocks");
            assert_eq!((tree.blocks, tree_blocks(tree.blocks)), (blocks as u64, wanted as u64));
            assert_eq!(digest(b"salt", &tree.bytes[..BLOCK]), tree.root);
        }
    }

    #[test]
    fn any_flipped_bit_changes_the_root_and_pieces_make_the_same_tree() {
        let mut data = vec![0; 300 * BLOCK + 5];
        let before = tree(&data, &[]);
        let mut leaves = Leaves::new(&[]);
        data.chunks(7 * BLOCK).for_each(|piece| leaves.add(piece));
        assert_eq!(leaves.tree(), before);
        data[299 * BLOCK + 17] ^= 0x10;
        assert_ne!(tree(&data, &[]).root, before.root);
        assert_ne!(tree(&[], &[1]).root, tree(&[], &[2]).root);
    }
}

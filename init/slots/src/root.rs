//! The root that a kernel command line names.

use crate::verity::{BLOCK, tree_blocks};

const KEY: &str = "rk.root=";
/// Larger roots do not fit any slot; keeps sums of sizes small.
const MOST_BLOCKS: u64 = 1 << 20;
/// Longest salt in hex; ours have half of it.
const MOST_SALT: usize = 64;

/// A verified root: `rk.root=<root hash>,<blocks>[,<salt>]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// SHA-256 of the topmost hash block in hex.
    pub hash: String,
    /// Data blocks of 4096 bytes; the hash tree lies right behind.
    pub blocks: u64,
    /// Salt of the hash tree in hex; may be empty.
    pub salt: String,
}

impl Root {
    /// The value behind `rk.root=`.
    pub fn parse(value: &str) -> Option<Root> {
        let (hash, rest) = value.split_once(',')?;
        let (blocks, salt) = rest.split_once(',').unwrap_or((rest, ""));
        let hex = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase());
        let blocks = blocks.parse().ok().filter(|blocks| (1..=MOST_BLOCKS).contains(blocks))?;
        let sound = hash.len() == 64 && hex(hash) && hex(salt) && salt.len() % 2 == 0 && salt.len() <= MOST_SALT;
        sound.then(|| Root { hash: hash.to_owned(), blocks, salt: salt.to_owned() })
    }

    /// Out of a whole command line.
    pub fn of_cmdline(line: &str) -> Option<Root> {
        line.split_ascii_whitespace().find_map(|word| word.strip_prefix(KEY)).and_then(Root::parse)
    }

    /// The word for a command line.
    pub fn word(&self) -> String {
        let Root { hash, blocks, salt } = self;
        if salt.is_empty() { format!("{KEY}{hash},{blocks}") } else { format!("{KEY}{hash},{blocks},{salt}") }
    }

    /// The salt as bytes.
    pub fn salt_bytes(&self) -> Vec<u8> {
        hex::decode(&self.salt).unwrap_or_default()
    }

    /// Byte offset of the topmost hash block, by which a slot is known: its digest is the root hash.
    pub fn tree_at(&self) -> u64 {
        self.blocks * BLOCK as u64
    }
}

/// Bytes that a slot with this root holds: data and tree.
pub fn slot_bytes(root: &Root) -> u64 {
    (root.blocks + tree_blocks(root.blocks)) * BLOCK as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_hash_and_size_and_nothing_else_will_do() {
        let hash = "0123456789abcdef".repeat(4);
        let root = Root::parse(&format!("{hash},3200")).unwrap();
        assert_eq!((root.tree_at(), slot_bytes(&root)), (3200 * 4096, (3200 + 25 + 1) * 4096));
        assert_eq!(Root::of_cmdline(&format!("quiet {} panic=1", root.word())), Some(root));
        let salted = Root::parse(&format!("{hash},3200,00ff")).unwrap();
        assert_eq!((salted.salt_bytes(), salted.word()), (vec![0, 255], format!("rk.root={hash},3200,00ff")));
        for bad in [
            format!("{hash},3200,0"),
            format!("{hash},3200,xy"),
            format!("{hash},3200,{hash}00"),
            hash.clone(),
            format!("{hash},0"),
            format!("{hash},x"),
            format!("{hash},99999999"),
            format!("{},1", hash.to_uppercase()),
            ",1".to_owned(),
        ] {
            assert_eq!(Root::parse(&bad), None, "{bad}");
        }
    }
}

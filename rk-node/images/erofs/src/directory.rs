//! Directories: blocks of entries and, behind them, their names, all in the order of names.

use crate::{
    BLOCK,
    tree::{Body, Id, Tree},
};

/// Bytes of an entry without its name.
const ENTRY: usize = 12;

/// What a directory holds, with `.` and `..`, in order; nothing for what is no directory.
pub(crate) fn entries(tree: &Tree, id: Id) -> Vec<(&[u8], Id)> {
    let Body::Directory { parent, children } = tree.body(id) else { return Vec::new() };
    let own = [(&b"."[..], id), (&b".."[..], *parent)];
    let mut entries: Vec<(&[u8], Id)> = children.iter().map(|(name, child)| (&**name, *child)).chain(own).collect();
    // Names may begin with what is less than a dot.
    entries.sort_unstable();
    entries
}

/// How many entries from the first on share a block.
fn first_block(entries: &[(&[u8], Id)]) -> usize {
    let mut used = 0;
    let fits = |(name, _): &&(&[u8], Id)| {
        used += ENTRY + name.len();
        used <= BLOCK as usize
    };
    entries.iter().take_while(fits).count()
}

/// Bytes of a directory of these entries: all blocks but the last are full.
pub(crate) fn size(mut entries: &[(&[u8], Id)]) -> u64 {
    let mut full = 0;
    loop {
        let (block, rest) = entries.split_at(first_block(entries));
        if rest.is_empty() {
            return full + block.iter().map(|(name, _)| (ENTRY + name.len()) as u64).sum::<u64>();
        }
        full += BLOCK;
        entries = rest;
    }
}

/// The bytes of a directory of these entries; `nid` tells the number of an inode and `kind` what it is.
pub(crate) fn encode(mut entries: &[(&[u8], Id)], nid: impl Fn(Id) -> u64, kind: impl Fn(Id) -> u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !entries.is_empty() {
        bytes.resize(bytes.len().next_multiple_of(BLOCK as usize), 0);
        let (block, rest) = entries.split_at(first_block(entries));
        let mut name_at = block.len() * ENTRY;
        for (name, id) in block {
            bytes.extend(nid(*id).to_le_bytes());
            bytes.extend((name_at as u16).to_le_bytes());
            bytes.extend([kind(*id), 0]);
            name_at += name.len();
        }
        block.iter().for_each(|(name, _)| bytes.extend(*name));
        entries = rest;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory_of(names: &[String]) -> Tree {
        let mut tree = Tree::default();
        for name in names {
            tree.add(Tree::ROOT, name.as_bytes(), Body::Fifo).expect(name);
        }
        tree
    }

    #[test]
    fn entries_are_in_order_with_the_dots_where_they_belong() {
        let tree = directory_of(&["a", "!", "..a", "-", "Z"].map(String::from));
        let names: Vec<&[u8]> = entries(&tree, Tree::ROOT).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, [&b"!"[..], b"-", b".", b"..", b"..a", b"Z", b"a"]);
        let fifo = tree.child(Tree::ROOT, b"a").expect("a");
        assert!(entries(&tree, fifo).is_empty());
    }

    #[test]
    fn a_block_is_filled_to_its_last_byte_and_names_are_as_long_as_may_be() {
        // The dots take 27 bytes, fifteen of the longest names 267 each; one of 52 letters takes the 64 that are left.
        let longest: Vec<String> = (0..15).map(|n| format!("{n:0255}")).collect();
        for (last, size) in [(51, BLOCK - 1), (52, BLOCK), (53, BLOCK + 12 + 53)] {
            let names: Vec<String> = longest.iter().cloned().chain(["z".repeat(last)]).collect();
            let tree = directory_of(&names);
            let entries = entries(&tree, Tree::ROOT);
            let bytes = encode(&entries, |_| 7, |_| 5);
            assert_eq!((bytes.len() as u64, super::size(&entries)), (size, size), "{last}");
            assert!(bytes.ends_with("z".repeat(last).as_bytes()), "{last}");
        }
    }

    #[test]
    fn a_directory_is_as_large_as_its_bytes_and_no_name_crosses_a_block() {
        // Names of 200 bytes: 19 to a block, and two dots in the first.
        for (count, blocks) in [(0, 0), (1, 0), (19, 0), (20, 1), (38, 1), (39, 2), (400, 21)] {
            let names: Vec<String> = (0..count).map(|n| format!("{n:0200}")).collect();
            let tree = directory_of(&names);
            let entries = entries(&tree, Tree::ROOT);
            let bytes = encode(&entries, |_| 7, |_| 5);
            assert_eq!(bytes.len() as u64, size(&entries), "{count}");
            assert_eq!(bytes.len() / BLOCK as usize, blocks, "{count}");
            for block in bytes.chunks(BLOCK as usize) {
                let first = u16::from_le_bytes([block[8], block[9]]) as usize;
                assert!(first.is_multiple_of(ENTRY) && first <= block.len(), "{count}");
            }
        }
        let tree = directory_of(&["name".to_owned()]);
        let bytes = encode(&entries(&tree, Tree::ROOT), |id| id.index() as u64, |_| 5);
        assert_eq!(&bytes[..12], [0, 0, 0, 0, 0, 0, 0, 0, 36, 0, 5, 0]);
        assert_eq!(&bytes[24..36], [1, 0, 0, 0, 0, 0, 0, 0, 39, 0, 5, 0]);
        assert_eq!(&bytes[36..], b"...name");
    }
}

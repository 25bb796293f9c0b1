//! Which inode lies where, before any of them is written: directories tell the numbers of what they hold.

use std::io;

use crate::{
    BLOCK, attributes, directory,
    tree::{Body, Id, Node, Tree},
};

/// Bytes of an inode.
pub(crate) const INODE: usize = 64;

/// Inodes are numbered by where they lie, in these.
const SLOT: u64 = 32;

/// What a node takes besides its contents.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Bytes of its attributes.
    pub attributes: usize,
    /// Bytes of the node, as who looks it up sees it.
    pub size: u64,
    /// Bytes of it right behind the inode: the last ones.
    pub tail: usize,
    /// Blocks of its own, which are not contents of a file.
    pub blocks: u64,
}

impl Shape {
    /// What a node takes.
    pub fn of(tree: &Tree, id: Id) -> Self {
        let Node { body, attributes, .. } = tree.node(id);
        let attributes = attributes::size(attributes.as_deref());
        let plain = |size| Self { attributes, size, tail: 0, blocks: 0 };
        match body {
            Body::Directory { .. } => plain(directory::size(&directory::entries(tree, id))).laid(),
            Body::Symlink(target) => plain(target.len() as u64).laid(),
            Body::File(extent) => plain(extent.size()),
            Body::Char(..) | Body::Block(..) | Body::Fifo => plain(0),
        }
    }

    /// The last part goes behind the inode if a block has room for both.
    fn laid(self) -> Self {
        let tail = (self.size % BLOCK) as usize;
        match (INODE + self.attributes + tail) as u64 <= BLOCK {
            true => Self { tail, blocks: self.size / BLOCK, ..self },
            false => Self { tail: 0, blocks: self.size.div_ceil(BLOCK), ..self },
        }
    }

    /// Bytes of the inode with all behind it.
    fn length(&self) -> u64 {
        (INODE + self.attributes + self.tail) as u64
    }
}

/// Places of all inodes that can be seen from the root.
pub(crate) struct Plan {
    /// In which order they lie.
    pub order: Vec<Id>,
    /// Number of each node's inode; 0 is nobody's.
    numbers: Vec<u32>,
    /// How many names each node has; directories count `.` and the `..` of others.
    links: Vec<u32>,
    /// Bytes of all.
    pub length: u64,
}

impl Plan {
    /// Finds a place for everything.
    ///
    /// # Errors
    /// `FileTooLarge`: more than can be numbered.
    pub fn of(tree: &Tree) -> io::Result<Self> {
        let mut plan =
            Self { order: Vec::new(), numbers: vec![0; tree.len()], links: vec![0; tree.len()], length: SLOT };
        let mut queue = vec![Tree::ROOT];
        while let Some(id) = queue.pop() {
            plan.place(id, &Shape::of(tree, id))?;
            let Body::Directory { children, .. } = tree.body(id) else { continue };
            plan.linked(id, 2);
            for child in children.values().rev() {
                match tree.body(*child) {
                    Body::Directory { .. } => plan.linked(id, 1),
                    _ => plan.linked(*child, 1),
                }
                // With its first name; a directory has no other.
                if plan.links(*child) < 2 {
                    queue.push(*child);
                }
            }
        }
        Ok(plan)
    }

    fn place(&mut self, id: Id, shape: &Shape) -> io::Result<()> {
        let at = self.length.next_multiple_of(SLOT);
        // What lies behind an inode is read with the block that it begins in.
        let crosses = shape.tail > 0 && at % BLOCK + shape.length() > BLOCK;
        let at = if crosses { at.next_multiple_of(BLOCK) } else { at };
        let number = u32::try_from(at / SLOT).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        if let Some(known) = self.numbers.get_mut(id.index()) {
            *known = number;
        }
        self.order.push(id);
        self.length = at + shape.length();
        Ok(())
    }

    fn linked(&mut self, id: Id, more: u32) {
        if let Some(links) = self.links.get_mut(id.index()) {
            *links += more;
        }
    }

    /// The number of a node's inode.
    pub fn number(&self, id: Id) -> u32 {
        self.numbers.get(id.index()).copied().unwrap_or_default()
    }

    /// Where it lies, from the beginning of all inodes.
    pub fn offset(&self, id: Id) -> u64 {
        u64::from(self.number(id)) * SLOT
    }

    /// How many names a node has.
    pub fn links(&self, id: Id) -> u32 {
        self.links.get(id.index()).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(size: u64, attributes: usize) -> (usize, u64) {
        let Shape { tail, blocks, .. } = Shape { attributes, size, tail: 0, blocks: 0 }.laid();
        (tail, blocks)
    }

    #[test]
    fn the_last_part_lies_behind_its_inode_where_a_block_has_room_for_both() {
        for (size, attributes, laid) in [
            (0, 0, (0, 0)),
            (1, 0, (1, 0)),
            (4032, 0, (4032, 0)),
            (4033, 0, (0, 1)),
            (4032, 20, (0, 1)),
            (4012, 20, (4012, 0)),
            (4096, 0, (0, 1)),
            (8193, 0, (1, 2)),
            (8191, 0, (0, 2)),
            (1, 5000, (0, 1)),
        ] {
            assert_eq!(shape(size, attributes), laid, "{size} with {attributes}");
        }
    }

    #[test]
    fn inodes_lie_behind_one_another_and_no_tail_crosses_a_block() {
        let mut tree = Tree::default();
        let deep = tree.add_directory(Tree::ROOT, b"d", 0o700).expect("d");
        let lost = tree.add_directory(Tree::ROOT, b"lost", 0o700).expect("lost");
        tree.add(lost, b"too", Body::Fifo).expect("too");
        tree.unlink(Tree::ROOT, b"lost");
        let shared = tree.add(deep, b"a", Body::Fifo).expect("a");
        tree.link(Tree::ROOT, b"b", shared).expect("b");
        for n in 0..40 {
            tree.add(deep, format!("link-{n}").as_bytes(), Body::Symlink(vec![b'x'; 900].into())).expect("link");
        }
        let plan = Plan::of(&tree).expect("plan");
        assert_eq!((plan.number(Tree::ROOT), plan.number(lost)), (1, 0));
        assert_eq!((plan.order.len(), plan.links(Tree::ROOT), plan.links(deep), plan.links(shared)), (43, 3, 2, 2));
        let mut end = 0;
        for id in &plan.order {
            let (at, shape) = (plan.offset(*id), Shape::of(&tree, *id));
            assert!(at >= end, "{id:?}");
            assert!(shape.tail == 0 || at % BLOCK + shape.length() <= BLOCK, "{id:?} at {at}");
            end = at + shape.length();
        }
        assert_eq!(plan.length, end);
    }
}

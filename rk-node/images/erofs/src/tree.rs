//! What an image is to hold, in memory.

use std::{collections::BTreeMap, io};

use crate::{
    MAX_NAME,
    attributes::{self, Attributes},
    writer::Extent,
};

/// Bytes of memory that a node takes besides its names and attributes, about.
const NODE: usize = 112;

/// Bytes of memory that a name takes besides its letters, about.
const NAME: usize = 48;

/// Bytes of memory that the first name in a directory takes besides, about: room for others.
const FIRST_NAME: usize = 192;

/// Bytes of memory that an attribute takes besides its name and value, about.
const ATTRIBUTE: usize = 80;

/// Bytes of memory that the first attribute takes besides, about: room for others.
const FIRST_ATTRIBUTE: usize = 352;

/// A node of a [`Tree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(u32);

impl Id {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Names and what they stand for; the directory that holds it is `parent`, itself for the root.
    Directory {
        /// What `..` is.
        parent: Id,
        /// Everything in it, in the order of the bytes of names.
        children: BTreeMap<Box<[u8]>, Id>,
    },
    /// A file with its contents.
    File(Extent),
    /// A symbolic link and where it leads.
    Symlink(Box<[u8]>),
    /// A character device, by its numbers.
    Char(u32, u32),
    /// A block device, by its numbers.
    Block(u32, u32),
    /// A named pipe.
    Fifo,
}

/// Whose a node is, what may be done to it, and when it was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dress {
    /// Permissions, and the bits for set-user-ID and the like: 12 bits.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds and nanoseconds since the epoch.
    pub mtime: (i64, u32),
}

#[derive(Debug)]
pub(crate) struct Node {
    pub body: Body,
    pub dress: Dress,
    pub attributes: Option<Box<Attributes>>,
}

/// Files and directories below a root. What is taken out of its directory and has no other name is not written.
#[derive(Debug)]
pub struct Tree {
    nodes: Vec<Node>,
    cost: usize,
}

impl Default for Tree {
    fn default() -> Self {
        let parent = Self::ROOT;
        let mut tree = Self { nodes: Vec::new(), cost: 0 };
        tree.push(Body::Directory { parent, children: BTreeMap::new() }, Dress { mode: 0o755, ..Dress::default() });
        tree
    }
}

impl Tree {
    /// The directory that everything is in.
    pub const ROOT: Id = Id(0);

    /// Bytes of memory that the tree takes, about; what was taken out counts on.
    pub fn cost(&self) -> usize {
        self.cost
    }

    /// What a node is.
    pub fn body(&self, id: Id) -> &Body {
        &self.node(id).body
    }

    /// What a directory has by a name; nothing in what is no directory.
    pub fn child(&self, directory: Id, name: &[u8]) -> Option<Id> {
        match self.body(directory) {
            Body::Directory { children, .. } => children.get(name).copied(),
            _ => None,
        }
    }

    /// Puts something new into a directory.
    ///
    /// # Errors
    /// As of [`Tree::link`].
    pub fn add(&mut self, directory: Id, name: &[u8], body: Body) -> io::Result<Id> {
        let id = self.push(body, Dress::default());
        self.link(directory, name, id).map(|()| id)
    }

    /// Puts an empty directory into another.
    ///
    /// # Errors
    /// As of [`Tree::link`].
    pub fn add_directory(&mut self, parent: Id, name: &[u8], mode: u16) -> io::Result<Id> {
        let id = self.add(parent, name, Body::Directory { parent, children: BTreeMap::new() })?;
        self.dress(id, Dress { mode, ..Dress::default() });
        Ok(id)
    }

    /// Gives something a name in a directory, besides those that it has; directories have one only.
    ///
    /// # Errors
    /// `AlreadyExists`; `NotADirectory`; `InvalidFilename`: too long, empty, or what no file is called.
    pub fn link(&mut self, directory: Id, name: &[u8], id: Id) -> io::Result<()> {
        if name.is_empty() || name == b"." || name == b".." || name.len() > MAX_NAME || name.contains(&b'/') {
            return Err(io::ErrorKind::InvalidFilename.into());
        }
        let Some(Node { body: Body::Directory { children, .. }, .. }) = self.nodes.get_mut(directory.index()) else {
            return Err(io::ErrorKind::NotADirectory.into());
        };
        if children.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.cost += NAME + name.len() + if children.is_empty() { FIRST_NAME } else { 0 };
        children.insert(name.into(), id);
        Ok(())
    }

    /// Takes a name out of a directory, with all below it. Absent is fine.
    pub fn unlink(&mut self, directory: Id, name: &[u8]) {
        if let Some(Node { body: Body::Directory { children, .. }, .. }) = self.nodes.get_mut(directory.index()) {
            children.remove(name);
        }
    }

    /// Sets owner, mode and time.
    pub fn dress(&mut self, id: Id, dress: Dress) {
        if let Some(node) = self.nodes.get_mut(id.index()) {
            node.dress = dress;
        }
    }

    /// Sets an extended attribute, in the place of one of that name.
    ///
    /// # Errors
    /// `InvalidInput`: no inode can have it ([`crate::check_attribute`]), or not beside the others.
    pub fn set_attribute(&mut self, id: Id, name: &[u8], value: &[u8]) -> io::Result<()> {
        attributes::check(name, value)?;
        let Some(node) = self.nodes.get_mut(id.index()) else { return Ok(()) };
        let all = node.attributes.get_or_insert_default();
        self.cost += ATTRIBUTE + name.len() + value.len() + if all.is_empty() { FIRST_ATTRIBUTE } else { 0 };
        all.insert(name.into(), value.into());
        match attributes::fits(all) {
            true => Ok(()),
            false => Err(io::Error::new(io::ErrorKind::InvalidInput, "more attributes than a file can have")),
        }
    }

    pub(crate) fn node(&self, id: Id) -> &Node {
        // Ids come from this tree alone, which forgets no node.
        &self.nodes[id.index()]
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    fn push(&mut self, body: Body, dress: Dress) -> Id {
        let id = Id(self.nodes.len() as u32);
        self.cost += NODE + if let Body::Symlink(target) = &body { target.len() } else { 0 };
        self.nodes.push(Node { body, dress, attributes: None });
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_files_may_be_called_and_stand_for_one_thing() {
        let mut tree = Tree::default();
        let file = tree.add(Tree::ROOT, b"file", Body::Fifo).expect("file");
        let long = [b'n'; MAX_NAME + 1];
        use io::ErrorKind::{AlreadyExists, InvalidFilename, NotADirectory};
        for (directory, name, wrong) in [
            (Tree::ROOT, &b"file"[..], Some(AlreadyExists)),
            (Tree::ROOT, b"", Some(InvalidFilename)),
            (Tree::ROOT, b".", Some(InvalidFilename)),
            (Tree::ROOT, b"..", Some(InvalidFilename)),
            (Tree::ROOT, b"a/b", Some(InvalidFilename)),
            (Tree::ROOT, &long, Some(InvalidFilename)),
            (file, b"x", Some(NotADirectory)),
            (Tree::ROOT, &long[1..], None),
        ] {
            let told = tree.link(directory, name, file).err().map(|error| error.kind());
            assert_eq!(told, wrong, "{:?}", String::from_utf8_lossy(name));
        }
        tree.unlink(Tree::ROOT, b"file");
        assert_eq!((tree.child(Tree::ROOT, b"file"), tree.child(file, b"x")), (None, None));
        assert!(tree.cost() > 2 * NODE);
    }

    #[test]
    fn whatever_takes_memory_is_counted() {
        let mut tree = Tree::default();
        let mut cost = tree.cost();
        let mut more = |tree: &Tree| {
            let before = std::mem::replace(&mut cost, tree.cost());
            tree.cost() - before
        };
        let file = tree.add(Tree::ROOT, b"a", Body::Fifo).expect("a");
        assert_eq!(more(&tree), NODE + FIRST_NAME + NAME + 1);
        tree.link(Tree::ROOT, b"bb", file).expect("bb");
        assert_eq!(more(&tree), NAME + 2, "another name of the same");
        tree.add(Tree::ROOT, b"c", Body::Symlink(b"to".as_slice().into())).expect("c");
        assert_eq!(more(&tree), NODE + NAME + 1 + 2);
        tree.set_attribute(file, b"user.a", b"v").expect("attribute");
        assert_eq!(more(&tree), ATTRIBUTE + FIRST_ATTRIBUTE + 7);
        tree.set_attribute(file, b"user.b", b"").expect("attribute");
        assert_eq!(more(&tree), ATTRIBUTE + 6);
    }
}

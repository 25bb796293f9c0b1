//! Contents first, then what describes them.

use std::io::{self, Write};

use crate::{
    BLOCK, Output, attributes, directory,
    plan::{INODE, Plan, Shape},
    superblock::Superblock,
    tree::{Body, Id, Node, Tree},
};

/// Contents of a file that a [`Writer`] took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extent {
    block: u32,
    size: u64,
}

impl Extent {
    /// Bytes of the file.
    pub fn size(&self) -> u64 {
        self.size
    }
}

/// Writes one image.
pub struct Writer<O> {
    out: O,
    /// Where the next byte goes.
    at: u64,
}

/// What became of an image.
pub struct Finished<O> {
    /// Where it went.
    pub out: O,
    /// Its first block, which is still to be written.
    pub first: Vec<u8>,
    /// Where that begins which describes the files.
    pub metadata: u64,
    /// Bytes of the image.
    pub size: u64,
}

impl<O: Output> Writer<O> {
    /// Begins an image; `out` takes it from its second block on.
    pub fn new(out: O) -> Self {
        Self { out, at: BLOCK }
    }

    /// Takes the contents of a file.
    ///
    /// # Errors
    /// Those of the output.
    pub fn contents(&mut self) -> io::Result<Contents<'_, O>> {
        self.fill_block()?;
        Ok(Contents { start: self.at, writer: self })
    }

    /// Writes all but the first block of a file system of this tree. `uuid` tells it from others.
    ///
    /// # Errors
    /// Those of the output; `FileTooLarge`: it has more blocks than can be numbered.
    pub fn finish(mut self, tree: &Tree, uuid: [u8; 16]) -> io::Result<Finished<O>> {
        self.fill_block()?;
        let (plan, start) = (Plan::of(tree)?, self.at);
        let metadata = block_number(start)?;
        let mut free = (start + plan.length).div_ceil(BLOCK);
        for id in &plan.order {
            let shape = Shape::of(tree, *id);
            self.fill(start + plan.offset(*id))?;
            let place = block_number(free * BLOCK)?;
            self.inode(tree, &plan, *id, &shape, place)?;
            free += shape.blocks;
        }
        self.fill_block()?;
        for id in &plan.order {
            let shape = Shape::of(tree, *id);
            if shape.blocks > 0 {
                let own = own(tree, &plan, *id);
                self.put(own.get(..own.len() - shape.tail).unwrap_or_default())?;
                self.fill_block()?;
            }
        }
        let superblock = Superblock {
            root: u16::try_from(plan.number(Tree::ROOT)).unwrap_or_default(),
            inodes: plan.order.len() as u64,
            blocks: block_number(self.at)?,
            metadata,
            uuid,
        };
        Ok(Finished { out: self.out, first: superblock.encode(), metadata: start, size: self.at })
    }

    /// An inode with its attributes and what lies behind them; `place` is where its own blocks would begin.
    fn inode(&mut self, tree: &Tree, plan: &Plan, id: Id, shape: &Shape, place: u32) -> io::Result<()> {
        let Node { body, dress, attributes } = tree.node(id);
        // Extended, and plain or with the last part behind it.
        let format: u16 = if shape.tail > 0 { 1 | 2 << 1 } else { 1 };
        let union = match body {
            Body::File(extent) => extent.block,
            Body::Char(major, minor) | Body::Block(major, minor) => device(*major, *minor),
            _ => place,
        };
        let mut inode = Vec::with_capacity(INODE);
        inode.extend(format.to_le_bytes());
        inode.extend(attributes::count(shape.attributes).to_le_bytes());
        inode.extend((kind(body).0 | dress.mode & 0o7777).to_le_bytes());
        inode.extend([0; 2]);
        inode.extend(shape.size.to_le_bytes());
        for number in [union, plan.number(id), dress.uid, dress.gid] {
            inode.extend(number.to_le_bytes());
        }
        inode.extend(dress.mtime.0.to_le_bytes());
        inode.extend(dress.mtime.1.to_le_bytes());
        inode.extend(plan.links(id).to_le_bytes());
        inode.resize(INODE, 0);
        self.put(&inode)?;
        self.put(&attributes::encode(attributes.as_deref()))?;
        if shape.tail > 0 {
            let own = own(tree, plan, id);
            self.put(own.get(own.len() - shape.tail..).unwrap_or_default())?;
        }
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.at += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    /// Zeros up to a place.
    fn fill(&mut self, to: u64) -> io::Result<()> {
        const ZEROS: &[u8] = &[0; BLOCK as usize];
        self.put(ZEROS.get(..to.saturating_sub(self.at) as usize).unwrap_or(ZEROS))
    }

    fn fill_block(&mut self) -> io::Result<()> {
        self.fill(self.at.next_multiple_of(BLOCK))
    }
}

/// The contents of a file, as they come.
pub struct Contents<'a, O> {
    writer: &'a mut Writer<O>,
    start: u64,
}

impl<O: Output> Contents<'_, O> {
    /// So many zeros, which need not be stored.
    ///
    /// # Errors
    /// Those of the output.
    pub fn hole(&mut self, bytes: u64) -> io::Result<()> {
        self.writer.at += bytes;
        self.writer.out.hole(bytes)
    }

    /// That was all.
    ///
    /// # Errors
    /// `FileTooLarge`: the image has more blocks than can be numbered.
    pub fn end(self) -> io::Result<Extent> {
        Ok(Extent { block: block_number(self.start)?, size: self.writer.at - self.start })
    }
}

impl<O: Output> Write for Contents<'_, O> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.writer.out.write(bytes)?;
        self.writer.at += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.out.flush()
    }
}

/// The bytes of what is no file: entries of a directory, target of a link.
fn own(tree: &Tree, plan: &Plan, id: Id) -> Vec<u8> {
    match tree.body(id) {
        Body::Directory { .. } => {
            let entries = directory::entries(tree, id);
            directory::encode(&entries, |id| plan.number(id).into(), |id| kind(tree.body(id)).1)
        }
        Body::Symlink(target) => target.to_vec(),
        _ => Vec::new(),
    }
}

/// The kind of a file, as inodes and as directories have it.
fn kind(body: &Body) -> (u16, u8) {
    match body {
        Body::File(_) => (0o100_000, 1),
        Body::Directory { .. } => (0o040_000, 2),
        Body::Char(..) => (0o020_000, 3),
        Body::Block(..) => (0o060_000, 4),
        Body::Fifo => (0o010_000, 5),
        Body::Symlink(_) => (0o120_000, 7),
    }
}

/// As the kernel writes device numbers in 32 bits: 12 of the major one, 20 of the minor one.
fn device(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | (major & 0xfff) << 8 | (minor & 0xf_ff00) << 12
}

fn block_number(at: u64) -> io::Result<u32> {
    u32::try_from(at / BLOCK).map_err(|_| io::ErrorKind::FileTooLarge.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_begin_at_blocks_and_holes_are_zeros() {
        let mut writer = Writer::new(Vec::new());
        let mut extents = Vec::new();
        for (text, hole) in [(&b"content"[..], 0), (b"", 0), (b"x", 5000), (b"y", 0)] {
            let mut contents = writer.contents().expect("contents");
            contents.write_all(text).expect("write");
            contents.hole(hole).expect("hole");
            extents.push(contents.end().expect("end"));
        }
        let told: Vec<(u32, u64)> = extents.iter().map(|extent| (extent.block, extent.size)).collect();
        assert_eq!(told, [(1, 7), (2, 0), (2, 5001), (4, 1)]);
        let done = writer.finish(&Tree::default(), [0; 16]).expect("finish");
        assert_eq!((done.metadata, done.size, done.out.len() as u64), (5 * BLOCK, 6 * BLOCK, 5 * BLOCK));
        assert_eq!((&done.out[..8], &done.out[4096..4098]), (&b"content\0"[..], &b"x\0"[..]));
    }

    #[test]
    fn devices_are_numbered_as_the_kernel_does() {
        for (major, minor, number) in [(0, 0, 0), (1, 3, 0x103), (0xfff, 0xf_ffff, 0xffff_ffff), (8, 256, 0x10_0800)] {
            assert_eq!(device(major, minor), number, "{major}:{minor}");
        }
    }

    #[test]
    fn blocks_beyond_their_numbers_are_refused() {
        let mut writer = Writer { out: Vec::new(), at: BLOCK << 32 };
        assert_eq!(
            writer.contents().expect("contents").end().err().map(|e| e.kind()),
            Some(io::ErrorKind::FileTooLarge)
        );
        assert!(writer.finish(&Tree::default(), [0; 16]).is_err());
    }
}

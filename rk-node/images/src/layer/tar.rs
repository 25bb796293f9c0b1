//! A streaming reader of tar archives: POSIX ustar, pax records with binary values, GNU long names, base-256 numbers and sparse files.
//!
//! Written for hostile input: every length is bounded before memory is taken, and nothing is trusted beyond its checksum.

use std::io::{self, Read, Seek};

use super::{
    pax::Overrides,
    sparse::{self, Sparse},
};

/// Archives are made of these.
pub(super) const BLOCK: usize = 512;
/// Longest path or link target; the kernel's own PATH_MAX.
const MAX_NAME: u64 = 4096;
/// All pax records of one entry: a path, a link and extended attributes of at most 64 KiB each.
const MAX_PAX: u64 = 1 << 20;

/// Headers that speak of the entry behind them: one of each kind, as tools write them, with room for a few more.
const MAX_HEADERS: usize = 8;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    HardLink,
    Symlink,
    Char,
    Block,
    Directory,
    Fifo,
}

/// The head of an entry; its content follows through [`Reader::read`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub path: Vec<u8>,
    pub link: Vec<u8>,
    pub kind: Kind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: (i64, u32),
    /// Bytes that the archive has of it.
    pub size: u64,
    /// Where they belong, when it has holes.
    pub sparse: Option<Sparse>,
    pub major: u32,
    pub minor: u32,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Entries one after another.
pub(crate) struct Reader<R> {
    inner: R,
    /// Unread content of the current entry.
    content: u64,
    /// Zeros after it up to the next block.
    padding: u64,
}

pub(super) fn bad(reason: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.into())
}

impl<R: Read> Reader<R> {
    /// Reads an archive from its first byte.
    pub fn new(inner: R) -> Self {
        Self { inner, content: 0, padding: 0 }
    }

    /// The next entry, after skipping what was not read of the last; `None` at the end of the archive.
    pub fn next(&mut self) -> io::Result<Option<Entry>> {
        let mut over = Overrides::default();
        let mut headers = 0;
        loop {
            self.skip()?;
            let Some(header) = self.header()? else { return Ok(None) };
            let size = number(field(&header, 124, 12))?;
            self.begin(size)?;
            headers += 1;
            if headers > MAX_HEADERS + 1 {
                return Err(bad(format!("more than {MAX_HEADERS} headers before an entry")));
            }
            match byte(&header, 156) {
                b'x' | b'X' => over.apply(&self.bounded(MAX_PAX, "pax records")?)?,
                // Global records would change every later entry; layers have no use for them beyond comments.
                b'g' => drop(self.bounded(MAX_PAX, "pax records")?),
                b'L' => over.path = Some(until_nul(&self.bounded(MAX_NAME + 1, "long name")?).to_vec()),
                b'K' => over.link = Some(until_nul(&self.bounded(MAX_NAME + 1, "long link")?).to_vec()),
                flag => {
                    if let Some(size) = over.size {
                        self.begin(size)?;
                    }
                    over.path = over.sparse.name.take().or(over.path.take());
                    let sparse = self.sparse(&header, flag, std::mem::take(&mut over.sparse))?;
                    return entry(&header, flag, self.content, over).map(|mut entry| {
                        entry.sparse = sparse;
                        // Only files have content; some writers give links and directories a size without one.
                        if entry.kind != Kind::File {
                            self.content = 0;
                            self.padding = 0;
                        }
                        Some(entry)
                    });
                }
            }
        }
    }

    /// The map of a file with holes; from now on nothing but content follows.
    fn sparse(&mut self, header: &[u8], flag: u8, records: sparse::Records) -> io::Result<Option<Sparse>> {
        let told = match flag {
            b'S' => Some(sparse::old(header, &mut self.inner)?),
            b'0' | 0 | b'7' => records.finish(self)?,
            _ => None,
        };
        told.map(|(size, extents)| Sparse::new(size, extents, self.content)).transpose()
    }

    /// The reader below.
    pub fn below(&mut self) -> &mut R {
        &mut self.inner
    }

    /// The reader below, to drain what follows the archive.
    pub fn into_inner(self) -> R {
        self.inner
    }

    fn begin(&mut self, size: u64) -> io::Result<()> {
        let blocks = size.checked_next_multiple_of(BLOCK as u64).ok_or_else(|| bad("entry size overflows"))?;
        self.content = size;
        self.padding = blocks - size;
        Ok(())
    }

    fn skip(&mut self) -> io::Result<()> {
        let left = self.content + self.padding;
        let skipped = io::copy(&mut (&mut self.inner).take(left), &mut io::sink())?;
        self.content = 0;
        self.padding = 0;
        if skipped < left { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    /// A header block with a right checksum; `None` at a zero block or the end of input.
    fn header(&mut self) -> io::Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.inner.read(block.get_mut(filled..).unwrap_or_default())? {
                0 if filled == 0 => return Ok(None),
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => filled += n,
            }
        }
        if block.iter().all(|b| *b == 0) {
            return Ok(None);
        }
        let sum: u64 =
            block.iter().enumerate().map(|(i, b)| if (148..156).contains(&i) { 32 } else { u64::from(*b) }).sum();
        if number(field(&block, 148, 8))? != sum {
            return Err(bad("bad header checksum"));
        }
        Ok(Some(block))
    }

    fn bounded(&mut self, limit: u64, what: &str) -> io::Result<Vec<u8>> {
        if self.content > limit {
            return Err(bad(format!("{what} longer than {limit} bytes")));
        }
        let mut bytes = Vec::with_capacity(self.content as usize);
        self.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

impl<R: Read + Seek> Reader<R> {
    /// Passes over what was not read of the current entry, without reading it.
    pub fn leave(&mut self) -> io::Result<()> {
        let left = i64::try_from(self.content + self.padding).map_err(|_| bad("entry size overflows"))?;
        self.inner.seek_relative(left)?;
        self.content = 0;
        self.padding = 0;
        Ok(())
    }

    /// Where the archive is read next: right behind a header, where the entry's content begins.
    pub fn position(&mut self) -> io::Result<u64> {
        self.inner.stream_position()
    }
}

impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let want = self.content.min(buf.len() as u64) as usize;
        let Some(buf) = buf.get_mut(..want).filter(|b| !b.is_empty()) else { return Ok(0) };
        match self.inner.read(buf)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            n => {
                self.content -= n as u64;
                Ok(n)
            }
        }
    }
}

fn entry(header: &[u8], flag: u8, size: u64, over: Overrides) -> io::Result<Entry> {
    let header_name = full_name(header);
    let path = over.path.unwrap_or(header_name);
    let kind = match flag {
        // Old archives mark a directory by its name.
        b'0' | 0 | b'7' if path.ends_with(b"/") => Kind::Directory,
        b'0' | 0 | b'7' | b'S' => Kind::File,
        b'1' => Kind::HardLink,
        b'2' => Kind::Symlink,
        b'3' => Kind::Char,
        b'4' => Kind::Block,
        b'5' => Kind::Directory,
        b'6' => Kind::Fifo,
        other => return Err(bad(format!("unknown entry type {:?}", char::from(other)))),
    };
    let link = over.link.unwrap_or_else(|| until_nul(field(header, 157, 100)).to_vec());
    if path.len() as u64 > MAX_NAME || link.len() as u64 > MAX_NAME || path.contains(&0) || link.contains(&0) {
        return Err(bad("path is too long or holds a NUL"));
    }
    let id = |over: Option<u64>, at| -> io::Result<u32> {
        let value = over.map_or_else(|| number(field(header, at, 8)), Ok)?;
        u32::try_from(value).map_err(|_| bad("owner does not fit 32 bits"))
    };
    let device = |at| -> io::Result<u32> {
        match kind {
            Kind::Char | Kind::Block => {
                u32::try_from(number(field(header, at, 8))?).map_err(|_| bad("device number does not fit 32 bits"))
            }
            _ => Ok(0),
        }
    };
    Ok(Entry {
        kind,
        link,
        size,
        sparse: None,
        mode: (number(field(header, 100, 8))? & 0o7777) as u32,
        uid: id(over.uid, 108)?,
        gid: id(over.gid, 116)?,
        mtime: over.mtime.map_or_else(|| signed(field(header, 136, 12)).map(|t| (t, 0)), Ok)?,
        major: device(329)?,
        minor: device(337)?,
        xattrs: over.xattrs,
        path,
    })
}

/// ustar's prefix and name; GNU archives use the prefix' place for times.
fn full_name(header: &[u8]) -> Vec<u8> {
    let name = until_nul(field(header, 0, 100));
    let prefix = until_nul(field(header, 345, 155));
    if field(header, 257, 6) == b"ustar\0" && !prefix.is_empty() {
        [prefix, b"/", name].concat()
    } else {
        name.to_vec()
    }
}

pub(super) fn field(header: &[u8], at: usize, len: usize) -> &[u8] {
    header.get(at..at + len).unwrap_or_default()
}

pub(super) fn byte(header: &[u8], at: usize) -> u8 {
    header.get(at).copied().unwrap_or_default()
}

pub(super) fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|b| *b == 0).next().unwrap_or_default()
}

pub(super) fn decimal(bytes: &[u8]) -> Option<u64> {
    std::str::from_utf8(bytes).ok().filter(|s| s.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()
}

/// An unsigned octal or base-256 field.
pub(super) fn number(field: &[u8]) -> io::Result<u64> {
    u64::try_from(signed(field)?).map_err(|_| bad("negative number in header"))
}

fn signed(field: &[u8]) -> io::Result<i64> {
    let overflow = || bad("number in header is too large");
    match field.first() {
        // The top bit marks base 256; the next one is the sign.
        Some(first) if first & 0x80 != 0 => {
            let start: i64 = if first & 0x40 != 0 { -1 } else { 0 };
            let head = (start << 6) | i64::from(first & 0x3f);
            field
                .iter()
                .skip(1)
                .try_fold(head, |n, b| n.checked_mul(256).and_then(|n| n.checked_add(i64::from(*b))))
                .ok_or_else(overflow)
        }
        _ => {
            let text = until_nul(field).trim_ascii();
            text.iter().try_fold(0i64, |n, b| match b {
                b'0'..=b'7' => n.checked_mul(8).and_then(|n| n.checked_add(i64::from(b - b'0'))).ok_or_else(overflow),
                _ => Err(bad("bad number in header")),
            })
        }
    }
}

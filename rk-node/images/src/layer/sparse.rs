//! Maps of sparse files, as GNU tar writes them: in its own headers (type `S`), in pax records (0.0 and 0.1), or in pax form before the
//! content (1.0).

use std::io::{self, Read};

use super::tar::{BLOCK, bad, byte, decimal, field, number};

/// More parts than files have that are worth to be kept sparse.
const MAX_EXTENTS: usize = 65_536;

/// Offset and length of each part that is no hole.
pub(super) type Extents = Vec<(u64, u64)>;

/// A file of which an archive has only what is no hole.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sparse {
    /// Bytes of the file.
    pub size: u64,
    /// Its parts in their order; their contents follow one another in the archive.
    pub extents: Extents,
    /// Bytes that are in no part.
    pub holes: u64,
}

impl Sparse {
    /// A file of these parts, of which the archive has `stored` bytes.
    pub(super) fn new(size: u64, mut extents: Extents, stored: u64) -> io::Result<Self> {
        extents.retain(|(_, length)| *length > 0);
        let (mut end, mut data) = (0_u64, 0_u64);
        for (offset, length) in &extents {
            let next = offset.checked_add(*length).filter(|next| *offset >= end && *next <= size);
            end =
                next.ok_or_else(|| bad("a part of a sparse file is not behind the one before, or not in the file"))?;
            // Parts of a file are no more than the file.
            data += length;
        }
        if data != stored {
            return Err(bad(format!("the parts of a sparse file have {data} bytes, and its content {stored}")));
        }
        Ok(Self { size, extents, holes: size - data })
    }
}

/// What pax records say of a sparse file.
#[derive(Default)]
pub(super) struct Records {
    told: bool,
    major: u64,
    minor: u64,
    /// What the file is called: its own header has the name of a folder that never was.
    pub name: Option<Vec<u8>>,
    size: Option<u64>,
    extents: Extents,
    /// Of a part whose length comes next.
    offset: Option<u64>,
}

impl Records {
    /// Takes a record over, by its key behind `GNU.sparse.`.
    pub fn record(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let malformed = || bad(format!("bad pax value of GNU.sparse.{}", String::from_utf8_lossy(key)));
        let number = || decimal(value).ok_or_else(malformed);
        self.told = true;
        match key {
            b"major" => self.major = number()?,
            b"minor" => self.minor = number()?,
            b"name" => self.name = Some(value.to_vec()),
            b"size" | b"realsize" => self.size = Some(number()?),
            b"offset" => self.offset = Some(number()?),
            b"numbytes" => {
                let offset = self.offset.take().ok_or_else(malformed)?;
                add(&mut self.extents, offset, number()?)?;
            }
            b"map" => self.map(value).map_err(|_| malformed())?,
            // Their number is told by themselves.
            _ => {}
        }
        Ok(())
    }

    /// `offset,length,offset,length…`
    fn map(&mut self, value: &[u8]) -> io::Result<()> {
        let missing = || bad("no number");
        let mut numbers = value.split(|b| *b == b',').filter(|word| !word.is_empty()).map(decimal);
        while let Some(offset) = numbers.next() {
            let length = numbers.next().flatten().ok_or_else(missing)?;
            add(&mut self.extents, offset.ok_or_else(missing)?, length)?;
        }
        Ok(())
    }

    /// Size and parts of the file, when it is a sparse one; `content` is what the archive has of it, the map before it.
    pub fn finish(self, content: &mut impl Read) -> io::Result<Option<(u64, Extents)>> {
        if !self.told {
            return Ok(None);
        }
        let size = self.size.ok_or_else(|| bad("a sparse file without its size"))?;
        match (self.major, self.minor) {
            (0, _) => Ok(Some((size, self.extents))),
            (1, 0) => Ok(Some((size, before(content)?))),
            (major, minor) => Err(bad(format!("sparse files of format {major}.{minor} are not known"))),
        }
    }
}

fn add(extents: &mut Extents, offset: u64, length: u64) -> io::Result<()> {
    if extents.len() >= MAX_EXTENTS {
        return Err(bad(format!("a sparse file of more than {MAX_EXTENTS} parts")));
    }
    extents.push((offset, length));
    Ok(())
}

/// Size and parts by a header of type `S` and the blocks behind it, which are no content.
pub(super) fn old(header: &[u8], behind: &mut impl Read) -> io::Result<(u64, Extents)> {
    let mut extents = Vec::new();
    pairs(&mut extents, field(header, 386, 4 * 24))?;
    let mut more = byte(header, 482) != 0;
    while more {
        let mut block = [0; BLOCK];
        behind.read_exact(&mut block)?;
        pairs(&mut extents, field(&block, 0, 21 * 24))?;
        more = byte(&block, 504) != 0;
    }
    Ok((number(field(header, 483, 12))?, extents))
}

/// Up to the first that is empty.
fn pairs(extents: &mut Extents, fields: &[u8]) -> io::Result<()> {
    for pair in fields.chunks_exact(24).take_while(|pair| byte(pair, 0) != 0) {
        add(extents, number(field(pair, 0, 12))?, number(field(pair, 12, 12))?)?;
    }
    Ok(())
}

/// The parts as lines of numbers in whole blocks: how many there are, and offset and length of each.
fn before(content: &mut impl Read) -> io::Result<Extents> {
    let mut lines = Lines { content, block: [0; BLOCK], at: BLOCK };
    let count = lines.number()?;
    let mut extents = Vec::new();
    for _ in 0..count {
        let offset = lines.number()?;
        add(&mut extents, offset, lines.number()?)?;
    }
    Ok(extents)
}

struct Lines<'a, R> {
    content: &'a mut R,
    block: [u8; BLOCK],
    /// What of the block comes next.
    at: usize,
}

impl<R: Read> Lines<'_, R> {
    fn number(&mut self) -> io::Result<u64> {
        let mut digits = Vec::new();
        loop {
            if self.at == BLOCK {
                self.content.read_exact(&mut self.block)?;
                self.at = 0;
            }
            let next = byte(&self.block, self.at);
            self.at += 1;
            match next {
                b'\n' => return decimal(&digits).ok_or_else(|| bad("bad number in the map of a sparse file")),
                digit if digits.len() < 20 => digits.push(digit),
                _ => return Err(bad("bad number in the map of a sparse file")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::tests::{Layer, forms};
    use crate::layer::{Form, Limits, Meta, Reading};

    const SIZE: u64 = 1 << 20;

    /// Keys and values of a file's PAX records.
    type Pairs<'a> = &'a [(&'a str, &'a str)];

    /// A header with its checksum.
    fn header(name: &str, flag: u8, stored: usize) -> [u8; BLOCK] {
        let mut header = [0; BLOCK];
        let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(0, name);
        put(100, "0000644\0");
        put(124, &format!("{stored:011o}\0"));
        put(257, "ustar  \0");
        header[156] = flag;
        header
    }

    fn sealed(mut header: [u8; BLOCK]) -> Vec<u8> {
        header[148..156].copy_from_slice(b"        ");
        let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        header.to_vec()
    }

    fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        bytes
    }

    fn pax(records: &[(&str, String)]) -> Vec<u8> {
        let mut text = String::new();
        for (key, value) in records {
            let rest = format!(" {key}={value}\n");
            let digits = (1..6).find(|d| (rest.len() + d).to_string().len() == *d).expect("a length");
            text.push_str(&format!("{}{rest}", rest.len() + digits));
        }
        [sealed(header("pax", b'x', text.len())), padded(text.into_bytes())].concat()
    }

    /// Archives of one file in each format; the parts have one letter each, and another file follows.
    fn archives(extents: &[(u64, u64)], size: u64) -> Vec<(&'static str, Vec<u8>)> {
        let data: Vec<u8> = extents
            .iter()
            .zip(b'a'..=b'z')
            .flat_map(|((_, length), letter)| vec![letter; usize::try_from(*length).expect("a part")])
            .collect();
        let behind = [sealed(header("behind", b'0', 1)), padded(b"x".to_vec()), vec![0; 2 * BLOCK]].concat();
        let file = |records: &[(&str, String)], content: Vec<u8>| {
            let head = sealed(header("GNUSparseFile.0/f", b'0', content.len()));
            [pax(records), head, padded(content), behind.clone()].concat()
        };
        let pair = |(offset, length): &(u64, u64)| format!("{offset:011o}\0{length:011o}\0");
        let mut old = header("f", b'S', data.len());
        let (first, rest) = extents.split_at(extents.len().min(4));
        let own: String = first.iter().map(pair).collect();
        old[386..386 + own.len()].copy_from_slice(own.as_bytes());
        old[482] = u8::from(!rest.is_empty());
        old[483..495].copy_from_slice(format!("{size:011o}\0").as_bytes());
        let mut blocks = sealed(old);
        for (n, chunk) in rest.chunks(21).enumerate() {
            let mut block: Vec<u8> = chunk.iter().map(pair).collect::<String>().into_bytes();
            block.resize(BLOCK, 0);
            block[504] = u8::from((n + 1) * 21 < rest.len());
            blocks.extend(block);
        }
        let mut zero = vec![("GNU.sparse.size", size.to_string()), ("path", "f".to_owned())];
        for (offset, length) in extents {
            zero.push(("GNU.sparse.offset", offset.to_string()));
            zero.push(("GNU.sparse.numbytes", length.to_string()));
        }
        let list: Vec<String> = extents.iter().map(|(offset, length)| format!("{offset},{length}")).collect();
        let one = [
            ("GNU.sparse.size", size.to_string()),
            ("GNU.sparse.name", "f".to_owned()),
            ("GNU.sparse.map", list.join(",")),
        ];
        let lines: String = extents.iter().map(|(offset, length)| format!("{offset}\n{length}\n")).collect();
        let before = padded(format!("{}\n{lines}", extents.len()).into_bytes());
        let newest = [
            ("GNU.sparse.major", "1".to_owned()),
            ("GNU.sparse.minor", "0".to_owned()),
            ("GNU.sparse.name", "f".to_owned()),
            ("GNU.sparse.realsize", size.to_string()),
        ];
        vec![
            ("old", [blocks, padded(data.clone()), behind.clone()].concat()),
            ("0.0", file(&zero, data.clone())),
            ("0.1", file(&one, data.clone())),
            ("1.0", file(&newest, [before, data.clone()].concat())),
        ]
    }

    fn unpacked(archive: &[u8], layer: &Layer, bytes: u64) -> io::Result<Meta> {
        layer.unpack(archive, Limits { bytes, entries: 9, image: None })
    }

    #[test]
    fn sparse_files_of_every_format_are_what_they_were_and_stay_sparse() {
        let many: Extents = (0..26).map(|n| (n * 16_384 + 512, 512)).collect();
        for extents in [vec![(8192, 512), (SIZE - 100, 100)], vec![(0, 512)], vec![(4096, 10)], vec![], many] {
            let mut want = vec![0; SIZE as usize];
            for ((offset, length), letter) in extents.iter().zip(b'a'..=b'z') {
                want[*offset as usize..(offset + length) as usize].fill(letter);
            }
            for (format, archive) in archives(&extents, SIZE) {
                for form in forms() {
                    let layer = Layer::new(form);
                    let meta = unpacked(&archive, &layer, 4 * SIZE).expect(format);
                    assert!(std::fs::read(layer.path("f")).expect(format) == want, "{format} {form:?} {extents:?}");
                    assert!(layer.path("behind").is_file(), "{format} {extents:?}");
                    assert_eq!(meta.bytes, 1 + extents.iter().map(|(_, length)| length).sum::<u64>());
                    let taken = layer.blocks("f");
                    assert!(taken < SIZE, "{format} {form:?}: {taken} bytes of the disk");
                    let mut reading = Reading::new(layer.directory.path(), meta.seal.expect("a seal"));
                    while reading.step().expect("read") {}
                    assert!(reading.fits(), "{format} {form:?}: holes are zeros to who reads them");
                }
            }
        }
    }

    #[test]
    fn maps_that_lie_and_holes_beyond_the_budget_are_refused() {
        for (extents, size) in [
            (vec![(512, 512), (0, 512)], SIZE),
            (vec![(0, 512), (511, 512)], SIZE),
            (vec![(SIZE - 1, 512)], SIZE),
            (vec![(0, 512)], 511),
        ] {
            for (format, archive) in archives(&extents, size) {
                let error = unpacked(&archive, &Layer::new(Form::Tree), 4 * SIZE).expect_err(format);
                assert!(error.to_string().contains("a part of a sparse file"), "{format} {extents:?}: {error}");
            }
        }
        for (format, archive) in archives(&[(0, 512)], 5 << 30) {
            let error = unpacked(&archive, &Layer::new(Form::Tree), 4 << 30).expect_err(format);
            assert_eq!(error.kind(), io::ErrorKind::FileTooLarge, "{format}: {error}");
        }
    }

    #[test]
    fn records_and_maps_are_read_within_bounds() {
        let read = |records: &[(&str, &str)], content: &[u8]| {
            let mut all = Records::default();
            for (key, value) in records {
                all.record(key.as_bytes(), value.as_bytes())?;
            }
            all.finish(&mut &*content)
        };
        assert_eq!(read(&[], b"").expect("no sparse file"), None);
        let told = [("size", "9"), ("numblocks", "1"), ("map", "1,2,5,1")];
        assert_eq!(read(&told, b"").expect("0.1"), Some((9, vec![(1, 2), (5, 1)])));
        assert_eq!(read(&[("size", "9"), ("map", "")], b"").expect("nothing but a hole"), Some((9, vec![])));
        let newest = [("major", "1"), ("minor", "0"), ("realsize", "9")];
        let wrong: [(Pairs<'_>, &[u8]); 9] = [
            (&[("map", "1,2")], b""),
            (&[("size", "9"), ("map", "1,2,3")], b""),
            (&[("size", "9"), ("map", "1,x")], b""),
            (&[("size", "x")], b""),
            (&[("numbytes", "9")], b""),
            (&[("major", "2"), ("size", "9")], b""),
            (&newest, b"1\n2\n"),
            (&newest, &[b'1'; BLOCK]),
            (&newest, &[b'\n'; BLOCK]),
        ];
        for (records, content) in wrong {
            assert!(read(records, content).is_err(), "{records:?}");
        }
        let mut endless = format!("{}\n", MAX_EXTENTS + 1);
        endless.push_str(&"1\n1\n".repeat(MAX_EXTENTS + 1));
        let error = read(&newest, &padded(endless.into_bytes())).expect_err("too many");
        assert!(error.to_string().contains("more than 65536 parts"), "{error}");
    }
}

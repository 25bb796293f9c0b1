//! Appending sections to a PE file, which is all that makes a unified kernel image out of an EFI stub.

use anyhow::{Context, Result, ensure};

/// A section to add.
#[derive(Debug, Clone, Copy)]
pub struct Section<'a> {
    /// At most eight bytes, with its dot.
    pub name: &'a str,
    /// What it holds.
    pub data: &'a [u8],
}

/// Where a section's data lies in the finished file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Its name.
    pub name: String,
    /// Byte offset, a multiple of [`ALIGN`].
    pub offset: u64,
    /// Its true length.
    pub len: u64,
}

/// Data of added sections starts at multiples of this: a CD's file system can then point into the file.
pub const ALIGN: usize = 4096;

const HEADER: usize = 40;
/// IMAGE_SCN_CNT_INITIALIZED_DATA | IMAGE_SCN_MEM_READ
const FLAGS: u32 = 0x4000_0040;

/// Offsets in the headers of a PE32+ file.
struct Layout {
    coff: usize,
    optional: usize,
    table: usize,
    sections: usize,
}

/// Answers `pe` with the sections behind its own, and where they lie.
///
/// # Errors
/// `pe` is no PE32+ file, or its headers have no room for as many sections.
pub fn append(pe: &[u8], sections: &[Section<'_>]) -> Result<(Vec<u8>, Vec<Placed>)> {
    let layout = layout(pe)?;
    let headers_end = u32_at(pe, layout.optional + 60)? as usize;
    let table_end = layout.table + (layout.sections + sections.len()) * HEADER;
    ensure!(table_end <= headers_end, "the EFI stub's headers have no room for {} more sections", sections.len());
    let section_align = (u32_at(pe, layout.optional + 32)? as usize).max(ALIGN);
    let mut address = (0..layout.sections)
        .map(|n| {
            let at = layout.table + n * HEADER;
            Ok(u32_at(pe, at + 12)? as usize + u32_at(pe, at + 8)? as usize)
        })
        .collect::<Result<Vec<usize>>>()?
        .into_iter()
        .max()
        .unwrap_or(headers_end)
        .next_multiple_of(section_align);
    let mut out = pe.to_vec();
    let mut placed = Vec::new();
    for (n, section) in sections.iter().enumerate() {
        ensure!(section.name.len() <= 8, "section name {} is too long", section.name);
        out.resize(out.len().next_multiple_of(ALIGN), 0);
        let offset = out.len();
        out.extend_from_slice(section.data);
        out.resize(out.len().next_multiple_of(ALIGN), 0);
        let mut header = section.name.as_bytes().to_vec();
        header.resize(8, 0);
        for value in [section.data.len(), address, out.len() - offset, offset, 0, 0, 0] {
            header.extend_from_slice(&small(value)?.to_le_bytes());
        }
        header.extend_from_slice(&FLAGS.to_le_bytes());
        put(&mut out, layout.table + (layout.sections + n) * HEADER, &header)?;
        placed.push(Placed { name: section.name.to_owned(), offset: offset as u64, len: section.data.len() as u64 });
        address = (address + section.data.len()).next_multiple_of(section_align);
    }
    let count = u16::try_from(layout.sections + sections.len()).context("too many sections")?;
    put(&mut out, layout.coff + 2, &count.to_le_bytes())?;
    put(&mut out, layout.optional + 56, &small(address)?.to_le_bytes())?;
    // The checksum is checked for drivers alone; a wrong one would be worse than none.
    put(&mut out, layout.optional + 64, &[0; 4])?;
    Ok((out, placed))
}

fn layout(pe: &[u8]) -> Result<Layout> {
    const PE32_PLUS: u16 = 0x20b;
    ensure!(pe.starts_with(b"MZ"), "no PE file: it does not start with MZ");
    let signature = u32_at(pe, 0x3c)? as usize;
    ensure!(
        pe.get(signature..).is_some_and(|rest| rest.starts_with(b"PE\0\0")),
        "no PE file: the signature is missing"
    );
    let coff = signature + 4;
    let (sections, optional_size) = (usize::from(u16_at(pe, coff + 2)?), usize::from(u16_at(pe, coff + 16)?));
    let optional = coff + 20;
    ensure!(u16_at(pe, optional)? == PE32_PLUS, "the PE file is not for 64 bits");
    Ok(Layout { coff, optional, table: optional + optional_size, sections })
}

fn small(value: usize) -> Result<u32> {
    u32::try_from(value).context("the image is larger than a PE file can be")
}

fn put(out: &mut [u8], at: usize, bytes: &[u8]) -> Result<()> {
    out.get_mut(at..at + bytes.len()).context("PE headers are cut short")?.copy_from_slice(bytes);
    Ok(())
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N]> {
    bytes.get(at..).and_then(|rest| rest.first_chunk::<N>()).copied().context("PE headers are cut short")
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16> {
    field(bytes, at).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32> {
    field(bytes, at).map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rk_slots::program::section;

    /// Headers of a PE32+ file with one section of 0x123 bytes at 0x1000.
    fn stub() -> Vec<u8> {
        let mut pe = vec![0; 0x600];
        pe[..2].copy_from_slice(b"MZ");
        pe[0x3c] = 0x80;
        pe[0x80..0x84].copy_from_slice(b"PE\0\0");
        pe[0x84 + 2] = 1;
        pe[0x84 + 16] = 240;
        pe[0x98..0x9a].copy_from_slice(&0x20b_u16.to_le_bytes());
        pe[0x98 + 32..0x98 + 36].copy_from_slice(&0x1000_u32.to_le_bytes());
        pe[0x98 + 60..0x98 + 64].copy_from_slice(&0x400_u32.to_le_bytes());
        let section = 0x98 + 240;
        pe[section..section + 5].copy_from_slice(b".text");
        pe[section + 8..section + 12].copy_from_slice(&0x123_u32.to_le_bytes());
        pe[section + 12..section + 16].copy_from_slice(&0x1000_u32.to_le_bytes());
        pe[section + 20..section + 24].copy_from_slice(&0x400_u32.to_le_bytes());
        pe
    }

    #[test]
    fn sections_are_read_back_and_lie_aligned() {
        let (linux, line) = (vec![9; 5000], b"quiet".as_slice());
        let sections = [Section { name: ".cmdline", data: line }, Section { name: ".linux", data: &linux }];
        let (uki, placed) = append(&stub(), &sections).unwrap();
        assert_eq!(section(&uki, ".cmdline").unwrap(), line);
        assert_eq!(section(&uki, ".linux").unwrap(), linux);
        assert_eq!(section(&uki, ".text").unwrap().len(), 0x123);
        assert!(placed.iter().all(|p| p.offset % ALIGN as u64 == 0));
        // Memory: one page of .text, one of the command line, two of the kernel, behind the headers' own.
        assert_eq!(u32_at(&uki, 0x98 + 56).unwrap(), 0x5000);
    }

    #[test]
    fn foreign_and_torn_files_are_refused() {
        for bytes in [&b""[..], b"MZ", b"\x7fELF", &stub()[..0x90]] {
            assert!(append(bytes, &[]).is_err());
        }
        let many: Vec<Section> = (0..20).map(|_| Section { name: ".x", data: b"" }).collect();
        assert!(append(&stub(), &many).is_err());
    }
}

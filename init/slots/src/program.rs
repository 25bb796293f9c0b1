//! Reading the sections of a unified kernel image, which is a PE32+ file.

use std::fmt;

const HEADER: usize = 40;
/// More sections than any EFI program of ours.
const MOST_SECTIONS: usize = 96;

/// Why a file is no EFI program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProgramError {
    /// It has no such headers, or they are cut short.
    Foreign,
    /// A section is missing or lies beyond the end.
    NoSection(String),
}

impl fmt::Display for ProgramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProgramError::Foreign => f.write_str("this is no EFI program for 64 bits"),
            ProgramError::NoSection(name) => write!(f, "the EFI program has no whole section {name}"),
        }
    }
}

impl std::error::Error for ProgramError {}

/// The content of a section, without its padding.
///
/// # Errors
/// The bytes are no PE32+ file, or have no such section.
pub fn section<'a>(program: &'a [u8], name: &str) -> Result<&'a [u8], ProgramError> {
    let (table, count) = table(program).ok_or(ProgramError::Foreign)?;
    (0..count)
        .find_map(|n| {
            let header = program.get(table + n * HEADER..)?.get(..HEADER)?;
            let own = header.get(..8)?.split(|b| *b == 0).next()?;
            (own == name.as_bytes()).then_some(())?;
            let (size, offset) = (u32_at(header, 8)? as usize, u32_at(header, 20)? as usize);
            program.get(offset..)?.get(..size)
        })
        .ok_or_else(|| ProgramError::NoSection(name.to_owned()))
}

/// As [`section`], a text.
///
/// # Errors
/// As [`section`]; or it is no UTF-8.
pub fn text<'a>(program: &'a [u8], name: &str) -> Result<&'a str, ProgramError> {
    let bytes = section(program, name)?;
    let text = std::str::from_utf8(bytes).map_err(|_| ProgramError::NoSection(name.to_owned()))?;
    Ok(text.trim_end_matches(['\0', '\n']))
}

/// Offset of the section table, and its length.
fn table(program: &[u8]) -> Option<(usize, usize)> {
    const PE32_PLUS: u16 = 0x20b;
    program.starts_with(b"MZ").then_some(())?;
    let coff = (u32_at(program, 0x3c)? as usize).checked_add(4)?;
    (program.get(coff - 4..coff)? == b"PE\0\0").then_some(())?;
    let optional = coff.checked_add(20)?;
    (u16_at(program, optional)? == PE32_PLUS).then_some(())?;
    let count = usize::from(u16_at(program, coff + 2)?).min(MOST_SECTIONS);
    Some((optional + usize::from(u16_at(program, coff + 16)?), count))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Headers of a PE32+ file with one section that says `hello`.
    fn program() -> Vec<u8> {
        let mut pe = vec![0; 0x400];
        pe[..2].copy_from_slice(b"MZ");
        pe[0x3c] = 0x80;
        pe[0x80..0x84].copy_from_slice(b"PE\0\0");
        pe[0x86] = 1;
        pe[0x94] = 240;
        pe[0x98..0x9a].copy_from_slice(&0x20b_u16.to_le_bytes());
        let header = 0x98 + 240;
        pe[header..header + 8].copy_from_slice(b".cmdline");
        pe[header + 8] = 6;
        pe[header + 20..header + 24].copy_from_slice(&0x300_u32.to_le_bytes());
        pe[0x300..0x305].copy_from_slice(b"hello");
        pe
    }

    #[test]
    fn a_section_is_found_by_name_and_a_missing_one_is_named() {
        assert_eq!(text(&program(), ".cmdline"), Ok("hello"));
        assert_eq!(section(&program(), ".linux"), Err(ProgramError::NoSection(".linux".to_owned())));
    }

    #[test]
    fn foreign_and_torn_files_are_refused_without_harm() {
        let whole = program();
        for bytes in [&b""[..], b"MZ", b"\x7fELF", &whole[..0x90], &whole[..0x200]] {
            assert!(section(bytes, ".cmdline").is_err());
        }
        let mut far = whole.clone();
        far[0x3c..0x40].copy_from_slice(&[0xff; 4]);
        assert_eq!(section(&far, ".cmdline"), Err(ProgramError::Foreign));
        let mut beyond = whole;
        beyond[0x98 + 240 + 8..0x98 + 240 + 12].copy_from_slice(&[0xff; 4]);
        assert!(section(&beyond, ".cmdline").is_err());
    }
}

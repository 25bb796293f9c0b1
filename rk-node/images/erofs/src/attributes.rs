//! Extended attributes, which follow their inode.

use std::{collections::BTreeMap, io};

/// Attributes by their names.
pub(crate) type Attributes = BTreeMap<Box<[u8]>, Box<[u8]>>;

/// Beginnings of names, which are stored as numbers.
const PREFIXES: [(&[u8], u8); 3] = [(b"user.", 1), (b"trusted.", 4), (b"security.", 6)];

/// A filter of names, which we leave empty, and a number of shared attributes, which is 0.
const HEADER: usize = 12;

/// Most bytes of all attributes of an inode: they are counted in fours, in 16 bits, of which one stands for the header.
const MAX_ALL: usize = (u16::MAX as usize - 1) * 4;

/// The number of a prefix, and what follows it.
fn split(name: &[u8]) -> Option<(u8, &[u8])> {
    PREFIXES.iter().find_map(|(prefix, index)| name.strip_prefix(*prefix).map(|rest| (*index, rest)))
}

/// Whether an inode can have such an attribute.
///
/// # Errors
/// `InvalidInput`: the name or the value is too long, or begins with nothing that is known.
pub fn check(name: &[u8], value: &[u8]) -> io::Result<()> {
    let fits = split(name).is_some_and(|(_, rest)| !rest.is_empty()) && name.len() <= 255 && value.len() <= 65_535;
    fits.then_some(()).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "an attribute that cannot be stored"))
}

fn size_of(name: &[u8], value: &[u8]) -> usize {
    let name = split(name).map_or(0, |(_, rest)| rest.len());
    (4 + name + value.len()).next_multiple_of(4)
}

/// Bytes of attributes behind their inode.
pub(crate) fn size(attributes: Option<&Attributes>) -> usize {
    let all = |attributes: &Attributes| attributes.iter().map(|(name, value)| size_of(name, value)).sum::<usize>();
    match attributes.map_or(0, all) {
        0 => 0,
        entries => HEADER + entries,
    }
}

/// Whether an inode has room for so many bytes of attributes.
pub(crate) fn fits(attributes: &Attributes) -> bool {
    size(Some(attributes)) <= HEADER + MAX_ALL
}

/// The count in an inode that stands for so many bytes.
pub(crate) fn count(size: usize) -> u16 {
    u16::try_from(size.saturating_sub(HEADER - 4) / 4).unwrap_or(u16::MAX)
}

/// The bytes behind the inode.
pub(crate) fn encode(attributes: Option<&Attributes>) -> Vec<u8> {
    let mut bytes = vec![0; if size(attributes) == 0 { 0 } else { HEADER }];
    for (name, value) in attributes.into_iter().flatten() {
        let Some((index, rest)) = split(name) else { continue };
        bytes.extend([rest.len() as u8, index]);
        bytes.extend((value.len() as u16).to_le_bytes());
        bytes.extend(rest);
        bytes.extend(value.iter());
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, value: &[u8]) -> Attributes {
        Attributes::from([(name.as_bytes().into(), value.into())])
    }

    #[test]
    fn attributes_are_counted_in_fours_behind_a_header() {
        for (attributes, bytes, counted) in [
            (None, 0, 0),
            (Some(Attributes::new()), 0, 0),
            (Some(one("user.a", b"")), 20, 3),
            (Some(one("user.abcd", b"")), 20, 3),
            (Some(one("trusted.overlay.opaque", b"y")), 12 + 20, 6),
        ] {
            let attributes = attributes.as_ref();
            assert_eq!((size(attributes), count(size(attributes))), (bytes, counted), "{attributes:?}");
            assert_eq!(encode(attributes).len(), bytes, "{attributes:?}");
        }
        assert_eq!(&encode(Some(&one("user.ab", b"v")))[12..], [2, 1, 1, 0, b'a', b'b', b'v', 0]);
    }

    #[test]
    fn what_no_inode_can_have_is_refused() {
        let long = format!("user.{}", "n".repeat(251));
        for (name, value, fine) in [
            ("user.a", 65_535, true),
            ("user.a", 65_536, false),
            ("user.", 0, false),
            (&long[..255], 0, true),
            (&long, 0, false),
            ("system.posix_acl_access", 4, false),
        ] {
            assert_eq!(check(name.as_bytes(), &vec![0; value]).is_ok(), fine, "{name} {value}");
        }
        let many = |count: usize| (0..count).map(|n| (format!("user.{n}").into_bytes().into(), vec![0; 65_000].into()));
        assert!(fits(&many(4).collect()) && !fits(&many(5).collect()));
    }
}

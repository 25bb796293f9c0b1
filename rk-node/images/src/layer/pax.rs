//! Pax records (POSIX.1-2024, pax, "Extended Header"), whose values may hold any byte.

use std::io;

use super::{
    sparse,
    tar::{bad, decimal, until_nul},
};

/// How the keys of records of sparse files begin.
const SPARSE: &[u8] = b"GNU.sparse.";

/// Values of records that override the header behind them.
#[derive(Default)]
pub(super) struct Overrides {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u64>,
    pub gid: Option<u64>,
    pub mtime: Option<(i64, u32)>,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub sparse: sparse::Records,
}

impl Overrides {
    /// Records are `<length> <key>=<value>\n`, where the length counts the whole record.
    pub fn apply(&mut self, mut records: &[u8]) -> io::Result<()> {
        while !until_nul(records).is_empty() {
            let malformed = || bad("malformed pax record");
            let space = records.iter().take(20).position(|b| *b == b' ').ok_or_else(malformed)?;
            let length = records.get(..space).and_then(decimal).ok_or_else(malformed)?;
            let record =
                records.get(space + 1..length as usize).and_then(|r| r.strip_suffix(b"\n")).ok_or_else(malformed)?;
            let equals = record.iter().position(|b| *b == b'=').ok_or_else(malformed)?;
            let (key, value) = (record.get(..equals).unwrap_or_default(), record.get(equals + 1..).unwrap_or_default());
            self.record(key, value)?;
            records = records.get(length as usize..).unwrap_or_default();
        }
        Ok(())
    }

    fn record(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        // An empty value takes back what came before: the header's own holds.
        let told = !value.is_empty();
        let wrong = || bad(format!("bad pax value of {}", String::from_utf8_lossy(key)));
        let number = || told.then(|| decimal(value).ok_or_else(wrong)).transpose();
        match key {
            b"path" => self.path = told.then(|| value.to_vec()),
            b"linkpath" => self.link = told.then(|| value.to_vec()),
            b"size" => self.size = number()?,
            b"uid" => self.uid = number()?,
            b"gid" => self.gid = number()?,
            b"mtime" => self.mtime = told.then(|| time(value).ok_or_else(wrong)).transpose()?,
            _ if key.starts_with(SPARSE) => self.sparse.record(key.get(SPARSE.len()..).unwrap_or_default(), value)?,
            _ => {
                let name = key.strip_prefix(b"SCHILY.xattr.");
                self.xattrs.extend(name.map(|name| (name.to_vec(), value.to_vec())));
            }
        }
        Ok(())
    }
}

/// `seconds[.fraction]`, possibly negative: whole seconds, and nanoseconds on top of them.
fn time(value: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(value).ok()?;
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let (seconds, nanos) = (seconds.parse::<i64>().ok()?, digits.parse::<u32>().ok()?);
    match text.starts_with('-') && nanos > 0 {
        true => Some((seconds.checked_sub(1)?, 1_000_000_000 - nanos)),
        false => Some((seconds, nanos)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_the_epoch_have_their_fraction_on_top() {
        for (text, read) in [
            ("0", Some((0, 0))),
            ("1234.5", Some((1234, 500_000_000))),
            ("1234.", Some((1234, 0))),
            ("1.0000000019", Some((1, 1))),
            ("-1", Some((-1, 0))),
            ("-1.5", Some((-2, 500_000_000))),
            ("-0.25", Some((-1, 750_000_000))),
            ("-9223372036854775808.5", None),
            ("1.-5", None),
            ("1.+5", None),
            ("", None),
            (".5", None),
            ("x", None),
        ] {
            assert_eq!(time(text.as_bytes()), read, "{text:?}");
        }
    }

    #[test]
    fn an_empty_value_takes_back_what_came_before() {
        let mut over = Overrides::default();
        for (key, value) in
            [("path", "p"), ("linkpath", "l"), ("size", "9"), ("uid", "1"), ("gid", "2"), ("mtime", "3")]
        {
            over.record(key.as_bytes(), value.as_bytes()).expect(key);
        }
        assert_eq!((over.path.as_deref(), over.link.as_deref()), (Some(&b"p"[..]), Some(&b"l"[..])));
        assert_eq!((over.size, over.uid, over.gid, over.mtime), (Some(9), Some(1), Some(2), Some((3, 0))));
        for key in ["path", "linkpath", "size", "uid", "gid", "mtime"] {
            over.record(key.as_bytes(), b"").expect(key);
        }
        assert_eq!((over.path, over.link), (None, None));
        assert_eq!((over.size, over.uid, over.gid, over.mtime), (None, None, None, None));
        let mut over = Overrides::default();
        over.record(b"SCHILY.xattr.user.empty", b"").expect("an attribute may be empty");
        assert_eq!(over.xattrs, [(b"user.empty".to_vec(), Vec::new())]);
        for (key, value) in [("size", "-1"), ("uid", "x"), ("mtime", "now")] {
            assert!(over.record(key.as_bytes(), value.as_bytes()).is_err(), "{key}");
        }
    }
}

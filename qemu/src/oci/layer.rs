//! Layers: the same entries always give the same bytes.

use flate2::{Compression, GzBuilder};
use std::io::{Result, Write};

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A folder.
    Dir,
    /// A file with these bytes.
    File(Vec<u8>),
    /// A symbolic link to this target.
    Symlink(String),
}

/// One entry of a layer, owned by root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Relative path without `./`.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// What it is.
    pub kind: Kind,
}

impl Entry {
    /// A folder that all may read.
    pub fn dir(path: &str) -> Entry {
        Entry { path: path.to_owned(), mode: 0o755, kind: Kind::Dir }
    }

    /// A file.
    pub fn file(path: &str, mode: u32, bytes: impl Into<Vec<u8>>) -> Entry {
        Entry { path: path.to_owned(), mode, kind: Kind::File(bytes.into()) }
    }

    /// A symbolic link.
    pub fn symlink(path: &str, target: &str) -> Entry {
        Entry { path: path.to_owned(), mode: 0o777, kind: Kind::Symlink(target.to_owned()) }
    }
}

/// The layer as tar and as gzip of it. Entries are sorted, times are the epoch, missing parent folders are added.
pub fn gzip_layer(entries: &[Entry]) -> Result<(Vec<u8>, Vec<u8>)> {
    let mut tar = tar::Builder::new(Vec::new());
    for entry in with_parents(entries) {
        append(&mut tar, &entry)?;
    }
    let plain = tar.into_inner()?;
    let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::default());
    gzip.write_all(&plain)?;
    Ok((plain, gzip.finish()?))
}

fn with_parents(entries: &[Entry]) -> Vec<Entry> {
    let mut all: std::collections::BTreeMap<String, Entry> =
        entries.iter().map(|e| (e.path.clone(), e.clone())).collect();
    for entry in entries {
        let mut path = entry.path.as_str();
        while let Some((parent, _)) = path.rsplit_once('/') {
            all.entry(parent.to_owned()).or_insert_with(|| Entry::dir(parent));
            path = parent;
        }
    }
    all.into_values().collect()
}

fn append(tar: &mut tar::Builder<Vec<u8>>, entry: &Entry) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(entry.mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    match &entry.kind {
        Kind::Dir => {
            header.set_entry_type(tar::EntryType::Directory);
            tar.append_data(&mut header, format!("{}/", entry.path), std::io::empty())
        }
        Kind::File(bytes) => {
            header.set_entry_type(tar::EntryType::Regular);
            header.set_size(bytes.len() as u64);
            tar.append_data(&mut header, &entry.path, bytes.as_slice())
        }
        Kind::Symlink(target) => {
            header.set_entry_type(tar::EntryType::Symlink);
            tar.append_link(&mut header, &entry.path, target)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<Entry> {
        vec![Entry::symlink("bin/sh", "busybox"), Entry::file("bin/busybox", 0o755, *b"ELF"), Entry::dir("tmp")]
    }

    #[test]
    fn the_order_of_entries_does_not_change_a_byte() {
        let mut reversed = sample();
        reversed.reverse();
        assert_eq!(gzip_layer(&sample()).expect("layer"), gzip_layer(&reversed).expect("layer"));
    }

    #[test]
    fn parents_come_before_their_children() {
        let (plain, _) = gzip_layer(&sample()).expect("layer");
        let mut archive = tar::Archive::new(plain.as_slice());
        let paths: Vec<String> = archive
            .entries()
            .expect("entries")
            .map(|e| e.expect("entry").path().expect("path").display().to_string())
            .collect();
        assert_eq!(paths, ["bin/", "bin/busybox", "bin/sh", "tmp/"]);
    }
}

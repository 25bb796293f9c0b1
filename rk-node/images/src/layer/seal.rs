//! What a layer was when it was committed, so that what a disk flips, cuts or loses later does not go unseen.
//!
//! Disks fail, they do not attack: contents are summed by CRC-32, which costs next to nothing while a layer is unpacked.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    file_seal::{FileReading, FileSeal},
    packed,
    target::{Form, SHOWN},
    tree_seal::{TreeReading, TreeSeal},
};

pub(super) use super::tree_seal::{Sums, zeros};

/// Bytes that a step of [`Reading`] reads at most, but for those of one look at a file.
pub(super) const PIECE: usize = 1 << 20;

/// Sums of a layer, by which its form is known as well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Seal {
    /// Of a tree.
    Tree(TreeSeal),
    /// Of a file.
    File(FileSeal),
}

impl Seal {
    /// Seals a tree that was just written.
    pub(super) fn of_tree(root: &Path, sums: &Sums) -> io::Result<Self> {
        TreeSeal::of(root, sums).map(Self::Tree)
    }

    /// Seals a file that was just written: its size, where its metadata begins, and the sum of all.
    pub(super) fn of_file(file: &File, size: u64, metadata_at: u64, crc: u32) -> io::Result<Self> {
        FileSeal::of(file, size, metadata_at, crc).map(Self::File)
    }

    /// How the layer lies on the disk.
    pub fn form(&self) -> Form {
        match self {
            Self::Tree(_) => Form::Tree,
            Self::File(_) => Form::Erofs,
        }
    }

    /// Whether the layer in `directory` is still what it was, contents of files aside.
    pub fn fits(&self, directory: &Path) -> io::Result<bool> {
        match self {
            Self::Tree(seal) => seal.fits(&directory.join(SHOWN)),
            Self::File(seal) => seal.fits(&directory.join(packed::FILE)),
        }
    }
}

/// A layer that is read again from beginning to end, a step at a time.
pub(crate) struct Reading {
    seal: Seal,
    path: PathBuf,
    state: State,
}

enum State {
    Begun,
    Tree(TreeReading),
    File(FileReading),
}

impl Reading {
    /// Begins to read the layer in `directory`, which had this seal.
    pub fn new(directory: &Path, seal: Seal) -> Self {
        let path = match seal.form() {
            Form::Tree => directory.join(SHOWN),
            Form::Erofs => directory.join(packed::FILE),
        };
        Self { seal, path, state: State::Begun }
    }

    /// Reads on, and tells whether there is more. What cannot be read is an error: it is lost.
    pub fn step(&mut self) -> io::Result<bool> {
        match &mut self.state {
            State::Tree(reading) => reading.step(),
            State::File(reading) => reading.step(PIECE as u64),
            State::Begun => {
                self.state = match self.seal {
                    Seal::Tree(_) => State::Tree(TreeReading::new(&self.path)),
                    Seal::File(_) => State::File(FileReading::new(&self.path)?),
                };
                self.step()
            }
        }
    }

    /// Whether what was read to its end is what was sealed; to be asked once.
    pub fn fits(&mut self) -> bool {
        match (&mut self.state, &self.seal) {
            (State::Tree(reading), Seal::Tree(seal)) => reading.fits(seal),
            (State::File(reading), Seal::File(seal)) => reading.fits(seal),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_tells_the_form_and_those_of_earlier_releases_are_of_trees() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let tree = format!(r#"{{"tree":"{digest}","content":"{digest}"}}"#);
        let file = format!(r#"{{"size":8192,"metadata_at":4096,"metadata":"{digest}","crc":7}}"#);
        for (text, form) in [(tree, Form::Tree), (file, Form::Erofs)] {
            let seal: Seal = serde_json::from_str(&text).expect(&text);
            assert_eq!(seal.form(), form);
            assert_eq!(serde_json::to_string(&seal).expect("JSON"), text);
        }
        assert!(serde_json::from_str::<Seal>(r#"{"size":1}"#).is_err());
    }
}

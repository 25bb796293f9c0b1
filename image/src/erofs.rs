//! Packing a directory by `mkfs.erofs`.

use crate::program::{Program, run};
use anyhow::Result;
use std::path::Path;

/// Any constant will do; the same one makes the same image.
const UUID: &str = "726b0000-0000-4000-8000-000000000001";

/// How well the root is packed, which depends on the `mkfs.erofs` at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// LZ4 at its best level: all that erofs-utils before 1.8 has.
    Lz4,
    /// Zstandard (erofs-utils 1.8 and later): a third smaller, and still quick where processors are emulated.
    Zstd,
}

/// What packs the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packer {
    /// `mkfs.erofs`.
    pub program: Program,
    /// What it can do.
    pub compression: Compression,
}

impl Default for Packer {
    /// The system's `mkfs.erofs`, of whatever age.
    fn default() -> Packer {
        Packer { program: Program::Own("mkfs.erofs".into()), compression: Compression::Lz4 }
    }
}

impl Packer {
    /// The package of [`Packer::unpacked`], and a file that it must hold.
    pub const UNPACKED: (&str, &str) = ("erofs-utils", "usr/bin/mkfs.erofs");

    /// Out of a package of erofs-utils 1.8 or later that is unpacked below `folder`, with all it depends on in a folder of its name.
    pub fn unpacked(folder: &Path) -> Packer {
        let (package, path) = Packer::UNPACKED;
        Packer {
            program: Program::Unpacked { root: folder.join(package), path: path.into() },
            compression: Compression::Zstd,
        }
    }

    /// Packs `tree` into `image`.
    ///
    /// # Errors
    /// The program is missing or fails.
    pub fn pack(&self, tree: &Path, image: &Path) -> Result<()> {
        let mut command = self.program.command()?;
        command.args(["--quiet", "-T0", "--all-root", "--ignore-mtime"]).arg(format!("-U{UUID}"));
        command.args(self.options()).arg(image).arg(tree).env("SOURCE_DATE_EPOCH", "0");
        run("mkfs.erofs (package erofs-utils)", &mut command)
    }

    /// Changes when the result would.
    pub(crate) fn describe(&self) -> String {
        format!("{} {:?} {}", self.program.name(), self.compression, self.options().join(" "))
    }

    /// Clusters that are decompressed at once: large ones pack better, small ones cost less for a page that is read alone.
    /// Zstandard above level 15 packs a few percent better and takes minutes.
    fn options(&self) -> [&'static str; 3] {
        match self.compression {
            Compression::Lz4 => ["-zlz4hc,12", "-C65536", "-Efragments,dedupe"],
            Compression::Zstd => ["-zzstd,19", "-C262144", "-Efragments,dedupe"],
        }
    }
}

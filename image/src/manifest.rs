//! What an image consists of, for people and for caches.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A built file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileInfo {
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 in hex.
    pub sha256: String,
}

/// An image's files, written as `manifest.json` beside them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The initramfs that a kernel boots.
    pub initramfs: Option<FileInfo>,
    /// The root image, which the initramfs contains.
    pub root: Option<FileInfo>,
    /// Sizes of the programs before packing.
    pub programs: BTreeMap<String, u64>,
    /// What went in, by size and time: equal stamps mean that nothing needs to be built.
    pub stamp: String,
}

impl Manifest {
    /// Reads a manifest; a torn or foreign one counts as none.
    pub(crate) fn read(path: &Path) -> Option<Manifest> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("encoding the manifest")?;
        let new = path.with_extension("new");
        fs::write(&new, text).with_context(|| format!("writing {}", new.display()))?;
        fs::rename(&new, path).with_context(|| format!("placing {}", path.display()))
    }
}

pub(crate) fn describe(bytes: &[u8]) -> FileInfo {
    FileInfo { bytes: bytes.len() as u64, sha256: hex::encode(Sha256::digest(bytes)) }
}

/// As [`describe`], without holding the file in memory.
pub(crate) fn describe_file(path: &Path) -> Result<FileInfo> {
    let mut file = fs::File::open(path).with_context(|| format!("reading {}", path.display()))?;
    let mut hasher = Sha256::new();
    let bytes = std::io::copy(&mut file, &mut hasher).with_context(|| format!("reading {}", path.display()))?;
    Ok(FileInfo { bytes, sha256: hex::encode(hasher.finalize()) })
}

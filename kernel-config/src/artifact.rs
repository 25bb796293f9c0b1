//! A built kernel in the cache.

use std::path::{Path, PathBuf};

/// A finished kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelArtifact {
    /// The bootable image; with the EFI stub it is an EFI program too.
    pub bzimage: PathBuf,
    /// Hash of everything that went in; the name of its directory in the cache.
    pub hash: String,
    /// The final `.config`.
    pub config: PathBuf,
    /// Lines of the fragments that this source did not take: unknown symbols, or parents that are off.
    pub dropped: Vec<String>,
    /// Whether it was already there.
    pub cached: bool,
}

impl KernelArtifact {
    /// The artifact in `dir`, if a build ever finished there. The directory appears by rename, so it is whole or absent.
    pub(crate) fn open(dir: &Path, hash: &str) -> Option<KernelArtifact> {
        let (bzimage, config) = (dir.join("bzImage"), dir.join("config"));
        if !bzimage.is_file() || !config.is_file() {
            return None;
        }
        let dropped = std::fs::read_to_string(dir.join("dropped")).unwrap_or_default();
        let dropped = dropped.lines().map(str::to_owned).collect();
        Some(KernelArtifact { bzimage, hash: hash.to_owned(), config, dropped, cached: true })
    }
}

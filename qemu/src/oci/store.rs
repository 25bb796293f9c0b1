//! Blobs by digest, and descriptors that name them.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Longest manifest or index that is read.
const MAX_MANIFEST: u64 = 4 << 20;

/// A typed reference to a blob.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Media type; Docker's old indexes leave it out, the manifest itself tells then.
    #[serde(default)]
    pub media_type: String,
    /// `sha256:…`.
    pub digest: String,
    /// Bytes.
    pub size: u64,
    /// For children of an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Value>,
    /// Names and hints.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// A plain descriptor.
    pub fn new(media_type: &str, digest: &str, size: u64) -> Descriptor {
        Descriptor {
            media_type: media_type.to_owned(),
            digest: digest.to_owned(),
            size,
            platform: None,
            annotations: BTreeMap::new(),
        }
    }

    /// Whether this is for the machines that rk runs on.
    pub fn is_linux_amd64(&self) -> bool {
        let part = |key: &str| self.platform.as_ref().and_then(|p| p.get(key)).and_then(Value::as_str);
        part("os") == Some("linux") && part("architecture") == Some("amd64")
    }
}

/// The digest of `bytes`, `sha256:…`.
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// The digest and the size of a file.
pub(super) fn digest_file(path: &Path) -> Result<(String, u64)> {
    let mut file = std::fs::File::open(path).map_err(Error::file("read", path))?;
    let (mut hash, mut buffer, mut size) = (Sha256::new(), vec![0; 1 << 16], 0);
    loop {
        let n = file.read(&mut buffer).map_err(Error::file("read", path))?;
        if n == 0 {
            return Ok((format!("sha256:{}", hex::encode(hash.finalize())), size));
        }
        hash.update(buffer.get(..n).unwrap_or_default());
        size += n as u64;
    }
}

/// Where blobs are found: a layout's `blobs/` folder, and single files that stand elsewhere.
#[derive(Debug, Default)]
pub struct BlobStore {
    root: PathBuf,
    extra: BTreeMap<String, PathBuf>,
}

impl BlobStore {
    /// The blobs of the layout at `root`.
    pub fn new(root: &Path) -> BlobStore {
        BlobStore { root: root.to_owned(), extra: BTreeMap::new() }
    }

    /// Makes `path` the blob `digest`.
    pub(super) fn add(&mut self, digest: &str, path: PathBuf) {
        self.extra.insert(digest.to_owned(), path);
    }

    /// The file of a blob, or `None` when it is not here or its digest is no digest.
    pub fn path(&self, digest: &str) -> Option<PathBuf> {
        if let Some(path) = self.extra.get(digest) {
            return Some(path.clone());
        }
        let (algorithm, hash) = digest.split_once(':')?;
        let sound =
            matches!(algorithm, "sha256" | "sha512") && hash.len() >= 64 && hash.bytes().all(|b| b.is_ascii_hexdigit());
        let path = self.root.join("blobs").join(algorithm).join(hash);
        (sound && path.is_file()).then_some(path)
    }

    /// A manifest or an index: its bytes as they are, and parsed.
    pub fn json(&self, digest: &str) -> Result<(Vec<u8>, Value)> {
        let path = self.path(digest).ok_or_else(|| Error::image(digest, "this blob is missing from the archive"))?;
        let file = std::fs::File::open(&path).map_err(Error::file("read", &path))?;
        let mut bytes = Vec::new();
        file.take(MAX_MANIFEST).read_to_end(&mut bytes).map_err(Error::file("read", &path))?;
        let value =
            serde_json::from_slice(&bytes).map_err(|e| Error::image(digest, format!("unreadable JSON: {e}")))?;
        Ok((bytes, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_that_would_leave_the_store_find_nothing() {
        let dir = tempfile::tempdir().expect("dir");
        std::fs::write(dir.path().join("secret"), "x").expect("write");
        let store = BlobStore::new(dir.path());
        for digest in ["sha256:../../secret", "../:secret", "sha256:", "secret"] {
            assert_eq!(store.path(digest), None, "{digest}");
        }
    }
}

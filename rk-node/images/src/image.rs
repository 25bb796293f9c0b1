//! What callers learn about images, snapshots and the disk.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::reference::Digest;

/// The digest of an image's config, such as `sha256:…`: what CRI calls the image ID.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ImageId(pub(crate) Digest);

impl ImageId {
    /// The text form, `sha256:<64 hex digits>`.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A stored image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Image {
    /// Digest of its config.
    pub id: ImageId,
    /// Names with tags, as `docker.io/library/nginx:latest`.
    pub repo_tags: Vec<String>,
    /// Names with the digest of the manifest or index that was pulled.
    pub repo_digests: Vec<String>,
    /// Unpacked bytes of all layers and the config.
    pub size: u64,
    /// Diff IDs from the lowest layer up.
    pub layers: Vec<Digest>,
    /// What a container is started with.
    pub config: ImageConfig,
    /// The whole config document as the registry sent it.
    pub raw_config: String,
    /// Seconds since the epoch when it was pulled first.
    pub pulled_at: u64,
    /// It came with an archive and not from a registry, which may be out of reach: garbage collection leaves it.
    #[serde(default)]
    pub pinned: bool,
}

/// The part of an image config that a container is started with.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageConfig {
    /// `user`, `uid`, `user:group` or `uid:gid`; empty is root.
    #[serde(deserialize_with = "null_default")]
    pub user: String,
    /// `NAME=value` entries.
    #[serde(deserialize_with = "null_default")]
    pub env: Vec<String>,
    /// First words of the command line.
    #[serde(deserialize_with = "null_default")]
    pub entrypoint: Vec<String>,
    /// Default arguments.
    #[serde(deserialize_with = "null_default")]
    pub cmd: Vec<String>,
    /// Working directory; empty is `/`.
    #[serde(deserialize_with = "null_default")]
    pub working_dir: String,
    /// Signal that asks the container to stop, as `SIGQUIT` or `3`; empty is SIGTERM.
    #[serde(deserialize_with = "null_default")]
    pub stop_signal: String,
    /// Labels of the image.
    #[serde(deserialize_with = "null_default")]
    pub labels: BTreeMap<String, String>,
    /// Paths that want a volume.
    #[serde(deserialize_with = "keys", serialize_with = "as_keys")]
    pub volumes: Vec<String>,
    /// `80/tcp` and the like.
    #[serde(deserialize_with = "keys", serialize_with = "as_keys")]
    pub exposed_ports: Vec<String>,
}

fn null_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(d: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}

/// `{"/data": {}}`, which is how the specification writes a set.
fn keys<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<String>, D::Error> {
    let set = Option::<BTreeMap<String, serde::de::IgnoredAny>>::deserialize(d)?;
    Ok(set.unwrap_or_default().into_keys().collect())
}

fn as_keys<S: Serializer>(set: &[String], s: S) -> Result<S::Ok, S::Error> {
    s.collect_map(set.iter().map(|key| (key, BTreeMap::<(), ()>::new())))
}

/// A container's root: an overlay of an image's layers under one writable directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The key that it was asked for by, usually a container ID.
    pub key: String,
    /// The image below.
    pub image: ImageId,
    /// Where the overlay is mounted.
    pub rootfs: PathBuf,
    /// Layer directories, topmost first, as overlayfs wants them.
    pub lower: Vec<PathBuf>,
    /// The writable layer.
    pub upper: PathBuf,
    /// Overlayfs' scratch directory.
    pub work: PathBuf,
}

impl Snapshot {
    /// The mount point.
    pub fn rootfs(&self) -> &Path {
        &self.rootfs
    }
}

/// Whose the files of a snapshot are for containers with users of their own: owners in layers are shifted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shift {
    /// The user namespace, as a file to open.
    pub namespace: PathBuf,
    /// Where user and group 0 of the namespace are on the host.
    pub root: (u32, u32),
}

/// Use of the image file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FsInfo {
    /// Directory that holds the images.
    pub mountpoint: PathBuf,
    /// Bytes of all unpacked layers, and of what came of others so far.
    pub used_bytes: u64,
    /// Inodes of all unpacked layers.
    pub used_inodes: u64,
    /// Size of the whole file system.
    pub capacity_bytes: u64,
    /// Bytes left on the file system.
    pub available_bytes: u64,
}

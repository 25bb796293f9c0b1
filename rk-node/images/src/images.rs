//! The handle.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::{
    config::{Auth, Config},
    error::{Error, Result},
    image::{FsInfo, Image, ImageId, Snapshot, Usage},
};

/// The images of this node; clones share one store.
#[derive(Clone)]
pub struct Images {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
}

impl Images {
    /// Opens the store, clears what a crash left half-done, and locks it against other processes.
    pub async fn open(config: Config) -> Result<Self> {
        Ok(Self { inner: Arc::new(Inner { config }) })
    }

    /// Pulls an image and answers with its ID once every layer is verified and unpacked.
    pub async fn pull(&self, reference: &str, auth: Option<Auth>, cancel: CancellationToken) -> Result<ImageId> {
        let _ = (auth, cancel, &self.inner.config);
        Err(Error::NotFound { what: reference.to_owned() })
    }

    /// The stored image with this name, name@digest, ID or unique ID prefix.
    pub fn status(&self, reference_or_id: &str) -> Option<Image> {
        let _ = reference_or_id;
        None
    }

    /// All stored images in the order of their IDs.
    pub fn list(&self) -> Vec<Image> {
        Vec::new()
    }

    /// Removes an image and all its names, then layers that nothing needs. Absent images are fine.
    pub async fn remove(&self, reference_or_id: &str) -> Result<()> {
        let _ = reference_or_id;
        Ok(())
    }

    /// Use of the image file system.
    pub async fn fs_info(&self) -> Result<FsInfo> {
        Err(Error::NotFound { what: "image file system".into() })
    }

    /// Makes (or finds again) the root of a container and mounts it at `rootfs`. Idempotent; survives restarts and reboots.
    pub async fn snapshot(&self, image: &ImageId, key: &str) -> Result<Snapshot> {
        let _ = image;
        Err(Error::NotFound { what: format!("snapshot {key}") })
    }

    /// Bytes and inodes of a container's writable layer.
    pub async fn snapshot_usage(&self, key: &str) -> Result<Usage> {
        Err(Error::NotFound { what: format!("snapshot {key}") })
    }

    /// Keys of all snapshots.
    pub fn snapshots(&self) -> Vec<String> {
        Vec::new()
    }

    /// Unmounts and removes a container's root. Absent keys are fine.
    pub async fn release(&self, key: &str) -> Result<()> {
        let _ = key;
        Ok(())
    }

    /// Removes layers that neither an image nor a snapshot nor a pull needs; answers with the bytes freed.
    pub async fn gc(&self) -> Result<u64> {
        Ok(0)
    }
}

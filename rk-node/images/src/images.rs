//! The handle that callers hold.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};
use rk_figures::{Taken, count_tree};
use rustix::fs::{Mode, OFlags};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{Auth, Config},
    error::{Error, IoContext, Result},
    image::{FsInfo, Image, ImageId, Shift, Snapshot},
    layout::{Archive, Layout},
    mounts, overlay,
    progress::Pulls,
    pull::Puller,
    reference::Reference,
    scrub, snapshot,
    store::{Store, blocking, remove_tree},
};

/// What became of one image of an archive: its name as the archive tells it, and its ID or why it was not taken.
pub type Imported = (String, Result<ImageId>);

type Flight = BoxFuture<'static, Result<ImageId>>;
/// Pulls in flight by what was asked for and with which credentials.
type Flights = HashMap<(Reference, Option<Auth>), WeakShared<Flight>>;

/// The images of this node; clones share one store.
#[derive(Clone)]
pub struct Images {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<Store>,
    puller: Arc<Puller>,
    /// Identical pulls share one future: it lives as long as somebody waits for it.
    flights: Mutex<Flights>,
}

impl Images {
    /// Opens the store, clears what a crash left half-done, and locks it against other processes.
    pub async fn open(config: Config) -> Result<Self> {
        let root = config.root.clone();
        let store = blocking(move || {
            let store = Store::open(&root)?;
            store.collect()?;
            Ok(Arc::new(store))
        })
        .await?;
        let puller = Arc::new(Puller::new(store.clone(), config)?);
        let partials = puller.partials.clone();
        blocking(move || partials.sweep()).await?;
        Ok(Self { inner: Arc::new(Inner { store, puller, flights: Mutex::default() }) })
    }

    /// Pulls an image and answers with its ID once every layer is verified and unpacked.
    ///
    /// Mirrors come first, then the image's own registry, which alone sees `auth`. Nothing is kept of a pull that fails but what came of
    /// large layers ([`crate::Keep`]), which the next one goes on with.
    pub async fn pull(&self, reference: &str, auth: Option<Auth>, cancel: CancellationToken) -> Result<ImageId> {
        let reference: Reference = reference.parse()?;
        let image = reference.to_string();
        let flight = self.flight(reference, auth);
        let result = tokio::select! {
            biased;
            () = cancel.cancelled() => Err(Error::Cancelled { image }),
            result = flight => result,
        };
        if result.is_err()
            && let Err(left) = self.gc().await
        {
            // Why there is no image says more.
            tracing::warn!(error = %left.chain(), "what a pull left could not be cleared yet");
        }
        result
    }

    /// The pulls that go on, and what all came to.
    pub fn pulls(&self) -> Pulls {
        self.inner.puller.board.look()
    }

    /// Takes every image of an archive (an OCI image layout) that is for this machine: verified and unpacked as those of a registry,
    /// and pinned. One that cannot be taken does not keep the others out.
    pub async fn import(&self, archive: Archive) -> Result<Vec<Imported>> {
        let layout = blocking(move || Layout::open(archive)).await?;
        let mut taken = Vec::new();
        for (name, manifests) in &layout.images {
            let result = self.inner.puller.import(&layout, name, manifests).await;
            taken.push((name.clone(), result));
        }
        if taken.iter().any(|(_, result)| result.is_err()) {
            self.gc().await?;
        }
        Ok(taken)
    }

    /// A file without a name, for an archive on its way in: it is gone when it is closed.
    pub async fn scratch(&self) -> Result<std::fs::File> {
        let directory = self.inner.store.root.join("ingest");
        blocking(move || {
            let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
            let file = rustix::fs::open(&directory, flags, Mode::RUSR | Mode::WUSR);
            file.map(std::fs::File::from).at("make a file in", &directory)
        })
        .await
    }

    fn flight(&self, reference: Reference, auth: Option<Auth>) -> Shared<Flight> {
        let mut flights = self.inner.flights.lock().unwrap_or_else(|e| e.into_inner());
        flights.retain(|_, flight| flight.upgrade().is_some());
        let key = (reference.clone(), auth.clone());
        if let Some(flight) = flights.get(&key).and_then(WeakShared::upgrade).filter(|flight| flight.peek().is_none()) {
            return flight;
        }
        let puller = self.inner.puller.clone();
        let flight = async move { puller.pull(reference, auth).await }.boxed().shared();
        flights.extend(flight.downgrade().map(|weak| (key, weak)));
        flight
    }

    /// The stored image with this name, name@digest, ID or unique ID prefix of at least 4 digits.
    pub fn status(&self, reference_or_id: &str) -> Option<Image> {
        self.inner.store.find(reference_or_id)
    }

    /// All stored images in the order of their IDs.
    pub fn list(&self) -> Vec<Image> {
        self.inner.store.state().images.values().cloned().collect()
    }

    /// Removes an image and all its names, then layers that nothing needs. Absent images are fine.
    ///
    /// Containers made from it keep running: their snapshots hold the layers.
    pub async fn remove(&self, reference_or_id: &str) -> Result<()> {
        let store = self.inner.store.clone();
        let Some(image) = store.find(reference_or_id) else { return Ok(()) };
        blocking(move || store.remove_image(&image.id)).await?;
        self.gc().await.map(drop)
    }

    /// Where everything is kept: layers, and what containers write.
    pub fn root(&self) -> PathBuf {
        self.inner.store.root.clone()
    }

    /// Use of the image file system.
    pub async fn fs_info(&self) -> Result<FsInfo> {
        let store = self.inner.store.clone();
        let partials = self.inner.puller.partials.clone();
        blocking(move || {
            let whole = rustix::fs::statvfs(&store.root).at("statvfs", &store.root)?;
            let (mut used_bytes, mut used_inodes) = (partials.bytes(), 0);
            for layer in crate::store::entries(&store.root.join("layers"))? {
                if let Some(meta) = crate::record::read_json::<crate::layer::Meta>(&layer.join("meta.json")) {
                    used_bytes += meta.bytes;
                    used_inodes += meta.inodes;
                }
            }
            Ok(FsInfo {
                mountpoint: store.root.clone(),
                used_bytes,
                used_inodes,
                capacity_bytes: whole.f_blocks * whole.f_frsize,
                available_bytes: whole.f_bavail * whole.f_frsize,
            })
        })
        .await
    }

    /// Makes (or finds again) the root of a container and mounts it at `rootfs`. Idempotent; what a container wrote survives
    /// restarts and reboots until [`Images::release`].
    pub async fn snapshot(&self, image: &ImageId, key: &str) -> Result<Snapshot> {
        self.snapshot_for(image, key, None).await
    }

    /// As [`Images::snapshot`], for the users of a user namespace: id N of the image's files is id N there.
    pub async fn snapshot_for(&self, image: &ImageId, key: &str, shift: Option<Shift>) -> Result<Snapshot> {
        check_key(key)?;
        let store = self.inner.store.clone();
        let (image, key) = (image.clone(), key.to_owned());
        blocking(move || snapshot::make(&store, &image, &key, shift.as_ref())).await
    }

    /// What a container's writable layer takes; `so_far` hears meanwhile what was counted.
    pub async fn snapshot_usage(&self, key: &str, so_far: impl FnMut(Taken) + Send + 'static) -> Result<Taken> {
        let upper = self.snapshot_dir(key)?.join("upper");
        blocking(move || count_tree(&upper, so_far).at("count", &upper)).await
    }

    /// Keys of all snapshots.
    pub fn snapshots(&self) -> Vec<String> {
        let state = self.inner.store.state();
        state.snapshots.keys().chain(&state.unread).cloned().collect()
    }

    fn snapshot_dir(&self, key: &str) -> Result<PathBuf> {
        let store = &self.inner.store;
        match store.state().has_snapshot(key) {
            true => Ok(store.root.join("snapshots").join(key)),
            false => Err(Error::NotFound { what: format!("snapshot {key}") }),
        }
    }

    /// Unmounts and removes a container's root. Absent keys are fine.
    pub async fn release(&self, key: &str) -> Result<()> {
        let Ok(directory) = self.snapshot_dir(key) else { return Ok(()) };
        let (store, key) = (self.inner.store.clone(), key.to_owned());
        blocking(move || {
            mounts::unmount(&directory.join("rootfs"));
            overlay::drop_mapped(&directory);
            // The record goes last: until then a restart finds the snapshot again and can release it.
            snapshot::remove_parts(&directory)?;
            remove_tree(&directory).at("remove", &directory)?;
            let mut state = store.state();
            state.snapshots.remove(&key);
            state.unread.remove(&key);
            Ok(())
        })
        .await?;
        self.gc().await.map(drop)
    }

    /// Reads every layer again, a MiB and a pause at a time, and answers how many are not what was unpacked. Images of such a layer are
    /// forgotten, so that they are pulled again; containers that stand on it keep what is left of it.
    pub async fn scrub(&self, pause: Duration) -> Result<usize> {
        let mut damaged = 0;
        for layer in self.inner.store.layers() {
            damaged += usize::from(!scrub::layer(&self.inner.store, &layer, pause).await?);
        }
        Ok(damaged)
    }

    /// Removes layers that neither an image nor a snapshot nor a pull needs, and what is kept of downloads for too long; answers with
    /// the bytes of the layers.
    pub async fn gc(&self) -> Result<u64> {
        let (store, partials) = (self.inner.store.clone(), self.inner.puller.partials.clone());
        blocking(move || {
            let freed = store.collect()?;
            partials.sweep().map(|()| freed)
        })
        .await
    }
}

/// Container IDs and the like; the key becomes a directory name.
fn check_key(key: &str) -> Result<()> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if (1..=128).contains(&key.len()) && !key.starts_with('.') && key.chars().all(fine) {
        return Ok(());
    }
    Err(Error::InvalidReference { name: key.to_owned(), reason: "snapshot keys are letters, digits, '-', '_' and '.'" })
}

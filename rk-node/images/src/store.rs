//! The directory of images: records, layers, and who needs which.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, IoContext, Result},
    image::{Image, ImageId},
    layer::{FILE, Form, Meta, SHOWN},
    mounts,
    record::{read_json, sync_dir, write_json},
    reference::{Digest, Reference},
    snapshot,
};

/// A snapshot as `record.json` keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SnapshotRecord {
    pub image: ImageId,
    pub layers: Vec<Digest>,
}

/// What the disk holds, in memory.
#[derive(Default)]
pub(crate) struct State {
    pub images: BTreeMap<ImageId, Image>,
    pub snapshots: BTreeMap<String, SnapshotRecord>,
    /// Keys of snapshots whose records the disk has not given so far: what they stand on is not known.
    pub unread: BTreeSet<String>,
    /// Layers that a pull in flight counts on.
    holds: HashMap<Digest, usize>,
    /// Layers whose trees this process found to be what was unpacked.
    pub vouched: HashSet<Digest>,
}

impl State {
    /// Whether there is such a snapshot.
    pub fn has_snapshot(&self, key: &str) -> bool {
        self.snapshots.contains_key(key) || self.unread.contains(key)
    }
}

/// Records and layers below one root.
pub(crate) struct Store {
    pub root: PathBuf,
    /// The form of layers that are still to come.
    pub form: Form,
    state: Mutex<State>,
    /// See [`Store::mounting`].
    mounting: Mutex<()>,
    /// Locked for the life of the process.
    _lock: File,
}

/// Keeps layers from the collector while a pull works.
pub(crate) struct Hold {
    store: Arc<Store>,
    layers: Vec<Digest>,
}

impl Hold {
    /// What is kept.
    pub fn layers(&self) -> &[Digest] {
        &self.layers
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.store.state();
        for layer in &self.layers {
            if let Some(count) = state.holds.get_mut(layer) {
                *count -= 1;
            }
        }
        state.holds.retain(|_, count| *count > 0);
    }
}

/// A directory that disappears unless it is kept.
pub(crate) struct Ingest(pub PathBuf);

impl Drop for Ingest {
    fn drop(&mut self) {
        if let Err(error) = remove_layer(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "cannot remove a partial layer");
        }
    }
}

impl Store {
    /// Opens the root, clears what a crash left, and reads all records.
    pub fn open(root: &Path) -> Result<Self> {
        for directory in ["records", "layers", "ingest", "partial", "snapshots", "damaged", "empty"] {
            let path = root.join(directory);
            fs::create_dir_all(&path).at("create", &path)?;
        }
        let lock_path = root.join("lock");
        let lock = File::create(&lock_path).at("create", &lock_path)?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive)
            .map_err(io::Error::from)
            .at("lock (another process owns it)", &lock_path)?;
        for leftover in entries(&root.join("ingest"))? {
            remove_layer(&leftover).at("remove", &leftover)?;
        }
        let form = Form::here(&root.join("ingest"));
        let store =
            Self { root: root.to_owned(), form, state: Mutex::default(), mounting: Mutex::default(), _lock: lock };
        store.load()?;
        Ok(store)
    }

    /// The records in memory, locked.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Where a layer is, or would be.
    pub fn layer_dir(&self, layer: &Digest) -> PathBuf {
        self.root.join("layers").join(layer.file_name())
    }

    /// The layer's own account of itself, when it is here and can be read.
    pub fn layer_meta(&self, layer: &Digest) -> Option<Meta> {
        read_json(&self.layer_dir(layer).join("meta.json"))
    }

    /// Held while a layer is mounted, and while one goes from its place. Before [`Store::state`], where both are needed.
    pub fn mounting(&self) -> MutexGuard<'_, ()> {
        self.mounting.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The layer's own account of itself. It is never guessed: a layer that is a file has an empty directory in the place of a tree.
    ///
    /// # Errors
    /// It cannot be read; `Damaged`: the layer is not here any more.
    pub fn account(&self, layer: &Digest) -> Result<Meta> {
        let directory = self.layer_dir(layer);
        let path = directory.join("meta.json");
        let read = || -> io::Result<Meta> { serde_json::from_slice(&fs::read(&path)?).map_err(io::Error::from) };
        match read() {
            Err(_) if !directory.is_dir() => Err(snapshot::gone(layer)),
            other => other.at("read", &path),
        }
    }

    /// The directory that shows what is in a layer, which is mounted there if it must be. It stays for as long as a snapshot stands on it,
    /// which is to be recorded before.
    pub fn shown(&self, layer: &Digest) -> Result<PathBuf> {
        let directory = self.layer_dir(layer);
        let _one = self.mounting();
        let form = self.account(layer)?.form();
        mounts::attach(&directory, form).at("mount layer", &directory)?;
        Ok(directory.join(SHOWN))
    }

    /// Protects layers from the collector until the hold is dropped.
    pub fn hold(self: &Arc<Self>, layers: &[Digest]) -> Hold {
        self.hold_in(&mut self.state(), layers.to_vec())
    }

    /// Protects the layers of an image, if it is here.
    pub fn hold_image(self: &Arc<Self>, image: &ImageId) -> Hold {
        let mut state = self.state();
        let layers = state.images.get(image).map(|image| image.layers.clone()).unwrap_or_default();
        self.hold_in(&mut state, layers)
    }

    fn hold_in(self: &Arc<Self>, state: &mut State, layers: Vec<Digest>) -> Hold {
        for layer in &layers {
            *state.holds.entry(layer.clone()).or_default() += 1;
        }
        Hold { store: self.clone(), layers }
    }

    /// The directory of a layer that is to come, with an empty [`SHOWN`] in it.
    pub fn ingest(&self) -> Result<Ingest> {
        let path = self.root.join("ingest").join(format!("{:016x}", rand::random::<u64>()));
        let ingest = Ingest(path.clone());
        fs::create_dir_all(path.join(SHOWN)).at("create", &path)?;
        Ok(ingest)
    }

    /// Turns a verified layer into a visible one.
    pub fn commit_layer(&self, ingest: Ingest, meta: &Meta) -> Result<()> {
        let path = match meta.form() {
            Form::Tree => ingest.0.clone(),
            Form::Erofs => ingest.0.join(FILE),
        };
        let file = File::open(&path).at("open", &path)?;
        let flushed = match meta.form() {
            // One flush for the whole layer is far cheaper than an fsync of every file.
            Form::Tree => rustix::fs::syncfs(&file).map_err(io::Error::from),
            Form::Erofs => file.sync_all(),
        };
        flushed.at("flush", &path)?;
        write_json(&ingest.0.join("meta.json"), meta)?;
        let target = self.layer_dir(&meta.diff_id);
        match fs::rename(&ingest.0, &target) {
            // Somebody else finished the same layer; ours is dropped.
            Err(error) if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists) => {
                return Ok(());
            }
            other => other.at("rename to", &target)?,
        }
        sync_dir(&self.root.join("layers"))
    }

    /// Stores an image under its names, which it takes over from other images.
    pub fn put_image(&self, mut image: Image) -> Result<()> {
        let mut state = self.state();
        if let Some(old) = state.images.get(&image.id) {
            image.pulled_at = old.pulled_at;
            image.pinned |= old.pinned;
            merge(&mut image.repo_tags, &old.repo_tags);
            merge(&mut image.repo_digests, &old.repo_digests);
        }
        write_json(&self.record_path(&image.id), &image)?;
        self.give_tags(&mut state, &image)?;
        state.images.insert(image.id.clone(), image);
        Ok(())
    }

    /// Takes the tags of an image from all others.
    pub fn give_tags(&self, state: &mut State, image: &Image) -> Result<()> {
        let has =
            |other: &Image| other.id != image.id && other.repo_tags.iter().any(|tag| image.repo_tags.contains(tag));
        let robbed: Vec<Image> = state.images.values().filter(|other| has(other)).cloned().collect();
        for mut other in robbed {
            other.repo_tags.retain(|tag| !image.repo_tags.contains(tag));
            // Nothing leads to it by a tag any more: it is garbage like any other.
            other.pinned &= !other.repo_tags.is_empty();
            write_json(&self.record_path(&other.id), &other)?;
            state.images.insert(other.id.clone(), other);
        }
        Ok(())
    }

    /// Forgets an image; its layers become garbage.
    pub fn remove_image(&self, id: &ImageId) -> Result<()> {
        let mut state = self.state();
        self.forget(&mut state, id)
    }

    /// Removes the record of an image.
    pub fn forget(&self, state: &mut State, id: &ImageId) -> Result<()> {
        if state.images.remove(id).is_some() {
            let path = self.record_path(id);
            fs::remove_file(&path).at("remove", &path)?;
            sync_dir(&self.root.join("records"))?;
        }
        Ok(())
    }

    /// Where the record of an image is.
    pub fn record_path(&self, id: &ImageId) -> PathBuf {
        self.root.join("records").join(format!("{}.json", id.0.file_name()))
    }

    /// Finds by ID, unique ID prefix, name with tag, or name with digest.
    pub fn find(&self, name: &str) -> Option<Image> {
        let state = self.state();
        let by_name = || {
            let reference: Reference = name.parse().ok()?;
            let full = reference.to_string();
            let pinned = reference.digest.as_ref().map(|digest| format!("{}@{digest}", reference.name()));
            state.images.values().find(|image| match &pinned {
                Some(pinned) => image.repo_digests.contains(pinned),
                None => image.repo_tags.contains(&full),
            })
        };
        let by_id = || {
            let hex = name.strip_prefix("sha256:").unwrap_or(name);
            let fits = |image: &&Image| image.id.0.as_str() == name || image.id.0.hex().starts_with(hex);
            let mut found = state.images.values().filter(fits).take(2);
            let first = found.next().filter(|_| hex.len() >= 4 && hex.bytes().all(|b| b.is_ascii_hexdigit()))?;
            found.next().is_none().then_some(first)
        };
        // A full ID is never a name; a short one may be, and names win.
        let found = if name.starts_with("sha256:") { by_id() } else { by_name().or_else(by_id) };
        found.cloned()
    }

    /// Removes layers that nothing needs and unmounts those that nobody uses; answers with the bytes freed. Nothing goes while it is not
    /// known what a snapshot needs.
    pub fn collect(&self) -> Result<u64> {
        let mut doomed = Vec::new();
        {
            let mut state = self.state();
            for key in state.unread.clone() {
                self.load_snapshot(&mut state, key)?;
            }
            // A container may stand on any of them.
            if !state.unread.is_empty() {
                return Ok(0);
            }
            let images = state.images.values().flat_map(|image| &image.layers);
            let snapshots = state.snapshots.values().flat_map(|snapshot| &snapshot.layers);
            let needed: BTreeSet<String> =
                images.chain(snapshots).chain(state.holds.keys()).map(Digest::file_name).collect();
            state.vouched.retain(|layer| needed.contains(&layer.file_name()));
            let snapshots = state.snapshots.values().flat_map(|snapshot| &snapshot.layers);
            let used: BTreeSet<String> = snapshots.map(Digest::file_name).collect();
            let layers = entries(&self.root.join("layers"))?;
            layers.iter().filter(|path| !is_of(path, &used)).for_each(|path| mounts::detach(path));
            let layers = layers.into_iter().filter(|path| !is_of(path, &needed));
            for path in layers.chain(self.damaged_unused(&state)?) {
                // Renamed under the lock, so that no pull can count on it any more; removed at leisure.
                let away = self.root.join("ingest").join(format!("{:016x}", rand::random::<u64>()));
                fs::rename(&path, &away).at("rename", &path)?;
                doomed.push(Ingest(away));
            }
        }
        let freed =
            doomed.iter().filter_map(|d| read_json::<Meta>(&d.0.join("meta.json"))).map(|meta| meta.bytes).sum();
        Ok(freed)
    }
}

/// Whether a directory is that of one of these layers.
fn is_of(path: &Path, layers: &BTreeSet<String>) -> bool {
    path.file_name().is_some_and(|name| layers.contains(&*name.to_string_lossy()))
}

fn merge(into: &mut Vec<String>, more: &[String]) {
    for item in more {
        if !into.contains(item) {
            into.push(item.clone());
        }
    }
}

pub(crate) fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let read = fs::read_dir(directory).at("read", directory)?;
    read.map(|entry| entry.map(|e| e.path()).at("read", directory)).collect()
}

/// Removes a file or a tree; absent is fine.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(meta) if meta.is_dir() => rk_sys::remove_tree(path),
        Ok(_) => fs::remove_file(path),
    }
}

/// Removes the directory of a layer, which is not used any more.
fn remove_layer(path: &Path) -> io::Result<()> {
    mounts::detach(path);
    remove_tree(path)
}

/// Runs file system work off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => {
            Err(Error::Io { action: "finish work on", path: PathBuf::new(), source: Arc::new(io::Error::other(error)) })
        }
    }
}

//! Layers are looked at again: their trees before a container is made of them, their contents from time to time.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use crate::{
    error::{Error, IoContext, Result},
    image::ImageId,
    layer::{Meta, Reading, Seal},
    record::{sync_dir, write_json},
    reference::Digest,
    store::{Hold, State, Store, blocking, entries},
};

impl Store {
    /// Looks at the trees of an image's layers, once in the life of this process, and keeps them from the collector until the hold is
    /// dropped. Images of a layer that is not what was unpacked are forgotten.
    pub fn vouch(self: &Arc<Self>, image: &ImageId) -> Result<Hold> {
        let hold = self.hold_image(image);
        for layer in hold.layers() {
            if self.state().vouched.contains(layer) {
                continue;
            }
            let directory = self.layer_dir(layer);
            let seen = identity(&directory);
            let fits = |seal: Option<Seal>| seal.map_or(Ok(true), |seal| seal.fits(&directory));
            match seal(&directory).and_then(fits) {
                Ok(true) => {
                    self.state().vouched.insert(layer.clone());
                }
                Ok(false) => return Err(self.damage(layer, seen, "its tree is not what was unpacked".into())),
                Err(error) if is_ours(&error) => return Err::<Hold, _>(error).at("look at", &directory),
                Err(error) => return Err(self.damage(layer, seen, error.to_string())),
            }
        }
        Ok(hold)
    }

    /// All layers of images.
    pub fn layers(&self) -> BTreeSet<Digest> {
        self.state().images.values().flat_map(|image| image.layers.iter().cloned()).collect()
    }

    /// Takes a layer out of use, with the images that it belongs to; the error that tells it. `seen` is the [`identity`] of what was
    /// looked at.
    fn damage(&self, layer: &Digest, seen: Option<u64>, reason: String) -> Error {
        match self.put_aside(layer, seen) {
            Ok(images) => {
                tracing::error!(%layer, %reason, ?images, "a layer is damaged: its images are to be pulled again")
            }
            Err(error) => {
                tracing::error!(%layer, %reason, "a layer is damaged and cannot be put aside: {}", error.chain())
            }
        }
        Error::Damaged { layer: layer.to_string(), reason }
    }

    /// Containers may stand on the layer, whose files must then stay where their overlays find them: it is renamed and goes with them.
    fn put_aside(&self, layer: &Digest, seen: Option<u64>) -> Result<Vec<String>> {
        // Nobody mounts the file of this one in the place of the next; a disk that lets its mount wait keeps nobody from the state.
        let _still = self.mounting();
        let mut state = self.state();
        let directory = self.layer_dir(layer);
        // Somebody else found it first, and it was pulled again meanwhile: nothing is known against the one that is there now.
        if identity(&directory) != seen {
            return Ok(Vec::new());
        }
        state.vouched.remove(layer);
        let images: Vec<ImageId> =
            state.images.values().filter(|image| image.layers.contains(layer)).map(|image| image.id.clone()).collect();
        for image in &images {
            self.forget(&mut state, image)?;
        }
        let users: Vec<&String> = state
            .snapshots
            .iter()
            .filter(|(_, snapshot)| snapshot.layers.contains(layer))
            .map(|(key, _)| key)
            // They may.
            .chain(&state.unread)
            .collect();
        if directory.is_dir() {
            write_json(&directory.join("users.json"), &users)?;
            let away = self.root.join("damaged").join(format!("{:016x}", rand::random::<u64>()));
            fs::rename(&directory, &away).at("rename", &directory)?;
            sync_dir(&self.root.join("layers"))?;
        }
        Ok(images.iter().map(ToString::to_string).collect())
    }

    /// Damaged layers that no snapshot stands on any more.
    pub(crate) fn damaged_unused(&self, state: &State) -> Result<Vec<PathBuf>> {
        let unused = |path: &PathBuf| match fs::read(path.join("users.json")) {
            Ok(bytes) => {
                let users: Vec<String> = serde_json::from_slice(&bytes).unwrap_or_default();
                !users.iter().any(|key| state.has_snapshot(key))
            }
            // What cannot be read now may name somebody.
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        Ok(entries(&self.root.join("damaged"))?.into_iter().filter(unused).collect())
    }
}

/// Which directory this is: a layer that is pulled again has another one of the same name.
pub(crate) fn identity(directory: &Path) -> Option<u64> {
    fs::symlink_metadata(directory).ok().map(|meta| meta.ino())
}

/// What a layer must go on to be, by its own account.
fn seal(directory: &Path) -> io::Result<Option<Seal>> {
    let bytes = fs::read(directory.join("meta.json"))?;
    let meta: Meta = serde_json::from_slice(&bytes).map_err(io::Error::from)?;
    Ok(meta.seal)
}

/// Whether this process, and not the disk, is short of something.
pub(crate) fn is_ours(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM))
}

/// Reads a layer again and tells whether it is what was unpacked. One that is gone by now, or of which nothing is known, is fine.
pub(crate) async fn layer(store: &Arc<Store>, layer: &Digest, pause: Duration) -> Result<bool> {
    // Held, so that the collector does not take it away under the reader.
    let _hold = store.hold(std::slice::from_ref(layer));
    let seen = identity(&store.layer_dir(layer));
    let Some(seal) = store.layer_meta(layer).and_then(|meta| meta.seal) else { return Ok(true) };
    let mut reading = Reading::new(&store.layer_dir(layer), seal);
    loop {
        let (back, more) = blocking(move || {
            let more = reading.step();
            Ok((reading, more))
        })
        .await?;
        reading = back;
        match more {
            Ok(true) => tokio::time::sleep(pause).await,
            Ok(false) if !reading.fits() => {
                return condemn(store, layer, seen, "its files are not what was unpacked".into()).await;
            }
            Ok(false) => return Ok(true),
            Err(error) if is_ours(&error) => return Err::<bool, _>(error).at("read", store.layer_dir(layer)),
            Err(error) => return condemn(store, layer, seen, error.to_string()).await,
        }
    }
}

async fn condemn(store: &Arc<Store>, layer: &Digest, seen: Option<u64>, reason: String) -> Result<bool> {
    let (store, layer) = (store.clone(), layer.clone());
    blocking(move || {
        store.damage(&layer, seen, reason);
        Ok(false)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_short_of_files_or_memory_blames_no_disk() {
        use rustix::io::Errno;
        for (errno, ours) in [
            (Errno::MFILE, true),
            (Errno::NFILE, true),
            (Errno::NOMEM, true),
            (Errno::IO, false),
            (Errno::NOENT, false),
        ] {
            assert_eq!(is_ours(&io::Error::from(errno)), ours, "{errno}");
        }
        assert!(!is_ours(&io::Error::other("no number")));
    }

    #[test]
    fn a_layer_that_was_pulled_again_meanwhile_is_not_the_one_that_was_looked_at() {
        let dir = tempfile::tempdir().expect("tempdir");
        let store = Store::open(dir.path()).expect("store");
        let layer = Digest::parse(&format!("sha256:{}", "0".repeat(64))).expect("digest");
        let directory = store.layer_dir(&layer);
        fs::create_dir(&directory).expect("layer");
        let seen = identity(&directory);
        fs::rename(&directory, dir.path().join("before")).expect("put aside by another");
        fs::create_dir(&directory).expect("pulled again");
        for (seen, stays) in [(seen, true), (None, true), (identity(&directory), false)] {
            store.put_aside(&layer, seen).expect("put aside");
            assert_eq!(directory.is_dir(), stays, "{seen:?}");
        }
    }

    #[test]
    fn a_layer_whose_account_cannot_be_read_is_not_taken_for_an_empty_tree() {
        let dir = tempfile::tempdir().expect("tempdir");
        let store = Store::open(dir.path()).expect("store");
        let layer = Digest::parse(&format!("sha256:{}", "0".repeat(64))).expect("digest");
        let directory = store.layer_dir(&layer);
        fs::create_dir_all(directory.join("fs")).expect("layer");
        let (diff_id, implicit) = (layer.clone(), BTreeSet::new());
        let meta = Meta { diff_id, bytes: 0, inodes: 1, implicit, hides: false, seal: None };
        let whole = serde_json::to_vec(&meta).expect("JSON");
        assert!(store.shown(&layer).is_err(), "none");
        for (bytes, fine) in [(&whole[..9], false), (&whole[..], true)] {
            fs::write(directory.join("meta.json"), bytes).expect("write");
            assert_eq!(store.shown(&layer).ok(), fine.then(|| directory.join("fs")));
        }
    }
}

//! The records that the disk holds, taken into memory. What can be pulled again is given up when the disk does not give its record; what a
//! container wrote is not.

use std::fs;

use crate::{
    error::{IoContext, Result},
    image::{Image, ImageId},
    mounts,
    record::read_record,
    scrub::is_ours,
    store::{SnapshotRecord, State, Store, entries, remove_tree},
};

impl Store {
    /// Reads all records.
    pub fn load(&self) -> Result<()> {
        let mut state = self.state();
        for path in entries(&self.root.join("records"))? {
            let whole = |image: &Image| image.layers.iter().all(|layer| self.layer_dir(layer).is_dir());
            // One that did not come to its place before the power went would never be removed with its image.
            let placed = path.extension().is_some_and(|extension| extension == "json");
            let read = match read_record::<Image>(&path) {
                _ if !placed => None,
                // An image can be pulled again.
                Err(error) if !is_ours(&error) => {
                    tracing::error!(path = %path.display(), %error, "the record of an image cannot be read");
                    None
                }
                other => other.at("read", &path)?,
            };
            match read.filter(whole) {
                Some(image) => drop(state.images.insert(image.id.clone(), image)),
                None => {
                    tracing::warn!(path = %path.display(), "removed an image record that is torn, was never in its place or lacks a layer");
                    remove_tree(&path).at("remove", &path)?;
                }
            }
        }
        self.settle_tags(&mut state);
        for path in entries(&self.root.join("snapshots"))? {
            let key = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            self.load_snapshot(&mut state, key)?;
        }
        Ok(())
    }

    /// A tag is that of one image. Where the power went between the record of a new one and that of the one before, both have it: the one
    /// that was written last keeps it.
    fn settle_tags(&self, state: &mut State) {
        let written = |id: &ImageId| fs::metadata(self.record_path(id)).and_then(|meta| meta.modified()).ok();
        let mut order: Vec<_> = state.images.keys().map(|id| (written(id), id.clone())).collect();
        order.sort();
        for (_, id) in order.iter().rev() {
            let Some(image) = state.images.get(id).cloned() else { continue };
            if let Err(error) = self.give_tags(state, &image) {
                tracing::warn!(image = %id, error = %error.chain(), "tags of two images could not be settled yet");
            }
        }
    }

    /// Reads the record of a snapshot. One that the disk does not give now is read again later: what a container wrote is nowhere else.
    pub fn load_snapshot(&self, state: &mut State, key: String) -> Result<()> {
        let path = self.root.join("snapshots").join(&key);
        match read_record::<SnapshotRecord>(&path.join("record.json")) {
            Ok(Some(record)) => {
                state.unread.remove(&key);
                state.snapshots.insert(key, record);
            }
            Ok(None) => {
                tracing::warn!(path = %path.display(), "removed a snapshot without a record");
                mounts::unmount(&path.join("rootfs"));
                remove_tree(&path).at("remove", &path)?;
                state.unread.remove(&key);
            }
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "the record of a snapshot cannot be read: all layers are kept");
                state.unread.insert(key);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        os::unix::fs::symlink,
        path::{Path, PathBuf},
        time::{Duration, SystemTime},
    };

    use super::*;
    use crate::{image::ImageConfig, record::write_json, reference::Digest};

    fn digest(of: char) -> Digest {
        Digest::parse(&format!("sha256:{}", of.to_string().repeat(64))).expect("digest")
    }

    /// What is there and cannot be read: a link to itself.
    fn unreadable_file(path: &Path) {
        symlink(path, path).expect("link");
    }

    /// A store whose one snapshot stands on one layer, closed again; its record cannot be read.
    fn unreadable(root: &Path) -> (SnapshotRecord, PathBuf) {
        let record = SnapshotRecord { image: ImageId(digest('a')), layers: vec![digest('b')] };
        let store = Store::open(root).expect("store");
        fs::create_dir(store.layer_dir(&digest('b'))).expect("layer");
        let directory = root.join("snapshots/c");
        fs::create_dir_all(directory.join("upper")).expect("upper");
        fs::write(directory.join("upper/written"), "").expect("write");
        unreadable_file(&directory.join("record.json"));
        (record, directory)
    }

    #[test]
    fn what_a_container_wrote_and_stands_on_stays_while_its_record_cannot_be_read() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (record, directory) = unreadable(dir.path());
        let store = Store::open(dir.path()).expect("store");
        for _ in 0..2 {
            assert_eq!(store.collect().expect("collect"), 0);
            assert_eq!(store.state().unread, BTreeSet::from(["c".to_owned()]));
            assert!(directory.join("upper/written").exists() && store.layer_dir(&digest('b')).is_dir());
        }
        write_json(&directory.join("record.json"), &record).expect("record");
        store.collect().expect("collect");
        assert_eq!(store.state().snapshots.get("c"), Some(&record));
        assert!(store.state().unread.is_empty() && store.layer_dir(&digest('b')).is_dir());
    }

    #[test]
    fn a_snapshot_whose_record_is_absent_or_torn_goes_and_so_does_what_it_stood_on() {
        for torn in [None, Some("{")] {
            let dir = tempfile::tempdir().expect("tempdir");
            let (_, directory) = unreadable(dir.path());
            fs::remove_file(directory.join("record.json")).expect("remove");
            torn.map_or(Ok(()), |text| fs::write(directory.join("record.json"), text)).expect("write");
            let store = Store::open(dir.path()).expect("store");
            store.collect().expect("collect");
            assert!(!store.state().has_snapshot("c") && !directory.exists(), "{torn:?}");
            assert!(!store.layer_dir(&digest('b')).exists(), "{torn:?}");
        }
    }

    #[test]
    fn an_image_whose_record_the_disk_does_not_give_is_to_be_pulled_again() {
        let dir = tempfile::tempdir().expect("tempdir");
        drop(Store::open(dir.path()).expect("store"));
        let path = dir.path().join("records/a.json");
        unreadable_file(&path);
        let store = Store::open(dir.path()).expect("store");
        assert!(store.state().images.is_empty() && fs::symlink_metadata(&path).is_err());
    }
    #[test]
    fn of_two_images_with_one_tag_the_one_that_was_written_last_keeps_it() {
        for last in ['a', 'b'] {
            let dir = tempfile::tempdir().expect("tempdir");
            let store = Store::open(dir.path()).expect("store");
            for of in ['a', 'b'] {
                let image = Image {
                    id: ImageId(digest(of)),
                    repo_tags: vec!["r.example/app:1".to_owned(), format!("r.example/app:{of}")],
                    repo_digests: Vec::new(),
                    size: 0,
                    layers: Vec::new(),
                    config: ImageConfig::default(),
                    raw_config: "{}".to_owned(),
                    pulled_at: 0,
                    pinned: false,
                };
                let path = store.record_path(&image.id);
                write_json(&path, &image).expect("record");
                let age = Duration::from_secs(if of == last { 1 } else { 2 });
                let file = fs::File::options().write(true).open(&path).expect("record");
                file.set_modified(SystemTime::now() - age).expect("time");
            }
            drop(store);
            // The second time nothing is left to settle.
            for _ in 0..2 {
                let store = Store::open(dir.path()).expect("store");
                let found = store.find("r.example/app:1").expect("found").id;
                assert_eq!(found, ImageId(digest(last)));
                let tags = store.state().images.values().map(|image| image.repo_tags.len()).sum::<usize>();
                assert_eq!(tags, 3, "{last}");
            }
        }
    }
}

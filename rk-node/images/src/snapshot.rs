//! A container's root from its record to its mount.
//!
//! A layer that is found damaged meanwhile is put aside under the hands of who mounts it, and may be pulled again at once: by the same
//! path there is then another directory, where nothing is mounted yet. So the layers are looked at before and behind.

use std::{
    collections::{BTreeSet, HashSet},
    path::Path,
    sync::Arc,
};

use crate::{
    error::{Error, IoContext, Result},
    image::{ImageId, Shift, Snapshot},
    layer::Meta,
    mounts, overlay,
    record::write_json,
    reference::Digest,
    scrub::identity,
    store::{SnapshotRecord, Store, remove_tree},
};

/// How often a root is made anew because a layer went from below it.
const TRIES: usize = 3;

/// What is made for a snapshot, in the order in which it goes: without `rootfs` the next attempt begins anew.
const PARTS: [&str; 3] = ["rootfs", "work", "upper"];

/// What came of an attempt.
enum Made {
    Whole(Snapshot),
    /// This layer is not the one any more that it was at the beginning.
    Moved(Digest),
}

/// A layer below a container.
struct Part<'a> {
    layer: &'a Digest,
    /// Which directory it was when it was looked at first.
    seen: Option<u64>,
    /// Directories that it has only because something lies in them.
    implicit: BTreeSet<String>,
}

/// Makes (or finds again) the root of a container and mounts it; blocks.
pub(crate) fn make(store: &Arc<Store>, image: &ImageId, key: &str, shift: Option<&Shift>) -> Result<Snapshot> {
    let root = shift.map_or((0, 0), |shift| shift.root);
    make_by(store, image, key, root, &mut |snapshot| overlay::mount(snapshot, shift))
}

/// As [`make`]; `mount` tells whether it mounted the root now, and `root` whose what is made for it is.
fn make_by(
    store: &Arc<Store>,
    image: &ImageId,
    key: &str,
    root: (u32, u32),
    mount: &mut dyn FnMut(&Snapshot) -> Result<bool>,
) -> Result<Snapshot> {
    let mut tries = 1;
    loop {
        match attempt(store, image, key, root, mount)? {
            Made::Whole(snapshot) => return Ok(snapshot),
            Made::Moved(layer) if tries < TRIES => {
                tracing::info!(%layer, key, "a layer was put aside while a root was made of it: it is made anew");
                tries += 1;
            }
            Made::Moved(layer) => return Err(gone(&layer)),
        }
    }
}

fn attempt(
    store: &Arc<Store>,
    image: &ImageId,
    key: &str,
    root: (u32, u32),
    mount: &mut dyn FnMut(&Snapshot) -> Result<bool>,
) -> Result<Made> {
    let _hold = store.vouch(image)?;
    let (record, fresh) = claim(store, image, key)?;
    let parts = stack(store, &record)?;
    let snapshot = describe(store, key, &record, &parts)?;
    if fresh {
        let implicit: Vec<_> = parts.iter().map(|part| &part.implicit).collect();
        let prepared = overlay::prepare(&snapshot, &implicit, root);
        if prepared.is_err() {
            // Should the disk not give a layer any more, the next attempt finds which.
            let mut state = store.state();
            state.vouched.retain(|layer| !record.layers.contains(layer));
        }
        prepared?;
    }
    let mounted = mount(&snapshot);
    // What stood before stands on what it was made of.
    if matches!(mounted, Ok(false)) {
        return Ok(Made::Whole(snapshot));
    }
    match parts.iter().find(|part| identity(&store.layer_dir(part.layer)) != part.seen) {
        None => mounted.map(|_| Made::Whole(snapshot)),
        Some(part) => {
            undo(&snapshot, fresh)?;
            Ok(Made::Moved(part.layer.clone()))
        }
    }
}

/// Takes a root away again; what the container wrote stays, unless it never was there.
fn undo(snapshot: &Snapshot, fresh: bool) -> Result<()> {
    mounts::unmount(&snapshot.rootfs);
    if fresh {
        remove_parts(snapshot.rootfs.parent().unwrap_or(&snapshot.rootfs))?;
    }
    Ok(())
}

/// Removes what was made for a snapshot; its record stays. Absent is fine.
pub(crate) fn remove_parts(directory: &Path) -> Result<()> {
    for part in PARTS {
        let path = directory.join(part);
        remove_tree(&path).at("remove", &path)?;
    }
    Ok(())
}

/// A layer that its images are to be pulled again for.
pub(crate) fn gone(layer: &Digest) -> Error {
    Error::Damaged { layer: layer.to_string(), reason: "it was put aside meanwhile".into() }
}

/// Records the snapshot before anything is made: in memory under the lock that the collector takes, then on disk without it, since whoever
/// asks for an image waits for that lock. `true` when nothing is made yet.
fn claim(store: &Store, image: &ImageId, key: &str) -> Result<(SnapshotRecord, bool)> {
    let directory = store.root.join("snapshots").join(key);
    let (record, unread) = {
        let mut state = store.state();
        if state.unread.contains(key) {
            store.load_snapshot(&mut state, key.to_owned())?;
        }
        if let Some(record) = state.snapshots.get(key) {
            if record.image != *image {
                return Err(Error::InUse { what: format!("snapshot {key}"), by: format!("image {}", record.image) });
            }
            return Ok((record.clone(), !directory.join("rootfs").is_dir()));
        }
        let found = state.images.get(image).ok_or_else(|| Error::NotFound { what: format!("image {image}") })?;
        let record = SnapshotRecord { image: image.clone(), layers: found.layers.clone() };
        state.snapshots.insert(key.to_owned(), record.clone());
        // In the place of one that cannot be read, too: the layers of an image are always the same.
        (record, state.unread.remove(key))
    };
    let written = std::fs::create_dir_all(&directory)
        .at("create", &directory)
        .and_then(|()| write_json(&directory.join("record.json"), &record));
    if let Err(error) = written {
        let mut state = store.state();
        state.snapshots.remove(key);
        if unread {
            state.unread.insert(key.to_owned());
        }
        return Err(error);
    }
    Ok((record, !directory.join("rootfs").is_dir()))
}

/// Layers from the top down, each once: a layer that comes again lower is wholly covered, and overlayfs refuses it. None comes below
/// one that hides all of them, which overlayfs would not see: it merges the roots of layers without a question.
fn stack<'a>(store: &Store, record: &'a SnapshotRecord) -> Result<Vec<Part<'a>>> {
    let mut known = HashSet::new();
    let mut parts = Vec::new();
    for layer in record.layers.iter().rev().filter(|layer| known.insert(*layer)) {
        let seen = identity(&store.layer_dir(layer));
        let Meta { implicit, hides, .. } = store.account(layer)?;
        parts.push(Part { layer, seen, implicit });
        if hides {
            break;
        }
    }
    Ok(parts)
}

fn describe(store: &Store, key: &str, record: &SnapshotRecord, parts: &[Part<'_>]) -> Result<Snapshot> {
    let directory = store.root.join("snapshots").join(key);
    let mut lower = Vec::new();
    for part in parts {
        lower.push(store.shown(part.layer)?);
    }
    if lower.is_empty() {
        // An image from scratch; overlayfs wants at least one lower directory.
        lower.push(store.root.join("empty"));
    }
    Ok(Snapshot {
        key: key.to_owned(),
        image: record.image.clone(),
        rootfs: directory.join("rootfs"),
        lower,
        upper: directory.join("upper"),
        work: directory.join("work"),
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use super::*;
    use crate::image::{Image, ImageConfig};

    /// A layer that is a tree of one file.
    fn put(store: &Store, layer: &Digest, file: &str) {
        let directory = store.layer_dir(layer);
        fs::create_dir_all(directory.join("fs")).expect("layer");
        fs::write(directory.join("fs").join(file), "").expect("file");
        let (diff_id, implicit) = (layer.clone(), BTreeSet::new());
        let meta = Meta { diff_id, bytes: 0, inodes: 2, implicit, hides: false, seal: None };
        write_json(&directory.join("meta.json"), &meta).expect("meta");
    }

    /// A store with an image of one layer.
    fn store(root: &Path) -> (Arc<Store>, ImageId, Digest) {
        let store = Arc::new(Store::open(root).expect("store"));
        let digest = |c: char| Digest::parse(&format!("sha256:{}", c.to_string().repeat(64))).expect("digest");
        let (id, layer) = (ImageId(digest('a')), digest('b'));
        put(&store, &layer, "first");
        let image = Image {
            id: id.clone(),
            repo_tags: vec!["rk.invalid/app:1".to_owned()],
            repo_digests: Vec::new(),
            size: 0,
            layers: vec![layer.clone()],
            config: ImageConfig::default(),
            raw_config: "{}".to_owned(),
            pulled_at: 0,
            pinned: false,
        };
        store.put_image(image).expect("image");
        (store, id, layer)
    }

    /// What another does that finds a layer damaged and pulls it again.
    fn pulled_again(store: &Store, layer: &Digest, away: PathBuf) {
        fs::rename(store.layer_dir(layer), away).expect("put aside");
        put(store, layer, "second");
    }

    #[test]
    fn a_root_is_made_anew_when_a_layer_went_from_below_it_and_so_often_only() {
        for (moves, mounted, attempts) in [(0, true, Some(1)), (1, true, Some(2)), (2, true, Some(3)), (9, true, None)]
            .into_iter()
            .chain([(1, false, Some(1))])
        {
            let dir = tempfile::tempdir().expect("tempdir");
            let (store, image, layer) = store(dir.path());
            let mut made = 0;
            let result = make_by(&store, &image, "c", (0, 0), &mut |snapshot| {
                made += 1;
                assert!(snapshot.upper.is_dir() && !snapshot.upper.join("written").exists(), "{moves}: made anew");
                fs::write(snapshot.upper.join("written"), "").expect("write");
                if made <= moves {
                    pulled_again(&store, &layer, dir.path().join(format!("away-{made}")));
                }
                Ok(mounted)
            });
            assert_eq!(made, attempts.unwrap_or(TRIES), "{moves} {mounted}");
            match (attempts, result) {
                (Some(_), Ok(snapshot)) => assert_eq!(snapshot.lower, [store.layer_dir(&layer).join("fs")]),
                (None, Err(Error::Damaged { .. })) => {}
                (_, other) => panic!("{moves} {mounted}: {other:?}"),
            }
        }
    }

    #[test]
    fn what_a_container_wrote_outlives_a_layer_that_goes_from_below_it() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (store, image, layer) = store(dir.path());
        let first = make_by(&store, &image, "c", (0, 0), &mut |_| Ok(true)).expect("first");
        fs::write(first.upper.join("written"), "").expect("write");
        let mut made = 0;
        let again = make_by(&store, &image, "c", (0, 0), &mut |_| {
            made += 1;
            if made == 1 {
                pulled_again(&store, &layer, dir.path().join("away"));
            }
            Ok(true)
        });
        let again = again.expect("as after a restart of the machine");
        assert_eq!(made, 2);
        assert!(again.upper.join("written").is_file());
    }

    #[test]
    fn a_record_that_cannot_be_read_is_written_anew_by_who_has_the_image_and_what_was_written_stays() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (store, image, layer) = store(dir.path());
        let first = make_by(&store, &image, "c", (0, 0), &mut |_| Ok(true)).expect("first");
        fs::write(first.upper.join("written"), "").expect("write");
        let path = dir.path().join("snapshots/c/record.json");
        fs::remove_file(&path).expect("remove");
        std::os::unix::fs::symlink(&path, &path).expect("a link to itself");
        drop(store);
        let store = Arc::new(Store::open(dir.path()).expect("store"));
        assert!(store.state().unread.contains("c"));
        let again = make_by(&store, &image, "c", (0, 0), &mut |_| Ok(true)).expect("again");
        assert!(again.upper.join("written").is_file());
        let record: Option<SnapshotRecord> = crate::record::read_record(&path).expect("read");
        assert_eq!(record.map(|record| record.layers), Some(vec![layer]));
        assert!(store.state().unread.is_empty());
    }

    #[test]
    fn a_root_whose_record_cannot_be_written_is_none_and_is_made_by_the_next_attempt() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (store, image, _) = store(dir.path());
        let place = dir.path().join("snapshots/c");
        fs::write(&place, "").expect("what is no directory");
        assert!(make_by(&store, &image, "c", (0, 0), &mut |_| Ok(true)).is_err());
        assert!(!store.state().has_snapshot("c"), "the collector would keep its layers for ever");
        fs::remove_file(&place).expect("remove");
        make_by(&store, &image, "c", (0, 0), &mut |_| Ok(true)).expect("again");
        assert!(place.join("record.json").is_file() && store.state().has_snapshot("c"));
    }

    #[test]
    fn a_record_that_never_came_to_its_place_is_none() {
        let dir = tempfile::tempdir().expect("tempdir");
        drop(store(dir.path()));
        let records =
            || fs::read_dir(dir.path().join("records")).expect("records").map(|entry| entry.expect("entry").path());
        let record = records().next().expect("a record");
        fs::rename(&record, record.with_extension("new")).expect("as the power went");
        let store = Store::open(dir.path()).expect("store");
        assert!(store.state().images.is_empty() && records().next().is_none());
    }

    #[test]
    fn a_layer_that_is_away_is_to_be_pulled_again() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (store, image, layer) = store(dir.path());
        let result = make_by(&store, &image, "c", (0, 0), &mut |_| {
            fs::rename(store.layer_dir(&layer), dir.path().join("away")).expect("put aside");
            // As who put it aside does.
            store.remove_image(&image).expect("forget");
            Ok(true)
        });
        assert!(matches!(result, Err(Error::Damaged { .. })), "{result:?}");
        assert_eq!(store.state().snapshots.len(), 1, "who asked for it releases it");
    }
}

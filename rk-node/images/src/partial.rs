//! What came of layers that are not here yet, as the registry sent it. A pull that was broken off goes on behind it: these bytes are
//! unpacked again, and the registry is asked for the rest.
//!
//! Nothing here is trusted, and nothing is flushed: whatever a crash left of a file is read again through the digest of the whole blob.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use crate::{
    config::{Keep, Reserve},
    error::{IoContext, Result},
    manifest::Descriptor,
    reference::Digest,
    store::{entries, remove_tree},
};

/// A layer takes about as much of a disk when it is kept and unpacked: itself, and twice itself.
const ROOM: u64 = 3;

/// All of them, below one directory: each under the name of its digest.
pub(crate) struct Partials {
    root: PathBuf,
    keep: Keep,
    reserve: Reserve,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    /// Bytes of those that no pull has open, as of the last look.
    idle: u64,
    /// Bytes of those that are open, by name.
    open: HashMap<String, u64>,
}

impl Held {
    fn bytes(&self) -> u64 {
        self.idle + self.open.values().sum::<u64>()
    }
}

/// One that no pull has open.
#[derive(Debug)]
struct Idle {
    path: PathBuf,
    bytes: u64,
    age: Duration,
}

/// One that a pull has open; another pull of the same blob gets none.
pub(crate) struct Partial {
    partials: Arc<Partials>,
    name: String,
    path: PathBuf,
    file: File,
    /// Bytes that were there when it was opened.
    pub length: u64,
    /// Nothing more is written.
    closed: Mutex<bool>,
}

impl Partials {
    /// Those below `root`, an existing directory.
    pub fn new(root: &Path, keep: Keep, reserve: Reserve) -> Arc<Self> {
        Arc::new(Self { root: root.to_owned(), keep, reserve, held: Mutex::default() })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of all of them.
    pub fn bytes(&self) -> u64 {
        self.held().bytes()
    }

    /// Removes what is too old, too many or too much; on a disk that is short, all that no pull has open.
    pub fn sweep(&self) -> Result<()> {
        self.make_room(&mut self.held(), 0)
    }

    fn make_room(&self, held: &mut Held, coming: u64) -> Result<()> {
        let mut idle = Vec::new();
        for path in entries(&self.root)? {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if !held.open.contains_key(&name) {
                let meta = fs::symlink_metadata(&path).at("stat", &path)?;
                // A clock that was set back makes nothing old.
                let age = meta.modified().ok().and_then(|time| SystemTime::now().duration_since(time).ok());
                idle.push(Idle { path, bytes: meta.len(), age: age.unwrap_or_default() });
            }
        }
        let taken = held.open.values().sum::<u64>().saturating_add(coming);
        let room = if self.short(0)? { 0 } else { self.keep.bytes.saturating_sub(taken) };
        let (gone, kept) = sort_out(idle, &self.keep, room);
        held.idle = kept;
        for path in gone {
            remove_tree(&path).at("remove", &path)?;
        }
        Ok(())
    }

    /// Whether the disk would be short of what must stay free if so many bytes more were taken.
    fn short(&self, coming: u64) -> Result<bool> {
        let disk = rustix::fs::statvfs(&self.root).at("statvfs", &self.root)?;
        let bytes = (disk.f_bavail.saturating_mul(disk.f_frsize), disk.f_blocks.saturating_mul(disk.f_frsize));
        Ok(self.reserve.missed(bytes, (disk.f_favail, disk.f_files), (coming, 1)).is_some())
    }

    /// Opens what there is of a blob, be it nothing. `None` where it is not worth it, or where the disk has no room for it: the blob
    /// can be had without.
    pub fn open(self: &Arc<Self>, blob: &Descriptor) -> Option<Arc<Partial>> {
        if blob.size < self.keep.least || self.keep.bytes == 0 {
            return None;
        }
        self.try_open(blob).unwrap_or_else(|error| {
            tracing::debug!(blob = %blob.digest, "nothing is kept of a download: {}", error.chain());
            None
        })
    }

    fn try_open(self: &Arc<Self>, blob: &Descriptor) -> Result<Option<Arc<Partial>>> {
        let name = blob.digest.file_name();
        let path = self.root.join(&name);
        if !path.exists() && self.short(blob.size.saturating_mul(ROOM))? {
            return Ok(None);
        }
        let mut held = self.held();
        if held.open.contains_key(&name) {
            return Ok(None);
        }
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.at("open", &path)?;
        let mut length = file.metadata().at("stat", &path)?.len();
        if length > blob.size {
            file.set_len(0).at("empty", &path)?;
            length = 0;
        }
        held.open.insert(name.clone(), length);
        let made = self.make_room(&mut held, blob.size.saturating_sub(length));
        // Its end takes the lock.
        drop(held);
        let partial = Partial { partials: self.clone(), name, path, file, length, closed: Mutex::new(false) };
        made.map(|()| Some(Arc::new(partial)))
    }

    /// Counts one that grows to so many bytes; whether it may.
    fn grow(&self, name: &str, to: u64) -> bool {
        let mut held = self.held();
        let others = held.bytes() - held.open.get(name).copied().unwrap_or(0);
        let fits = others.saturating_add(to) <= self.keep.bytes;
        if fits {
            held.open.insert(name.to_owned(), to);
        }
        fits
    }
}

impl Partial {
    /// At most so many bytes of what was there when it was opened; an error where they are gone by now.
    pub fn read(&self, at: u64, most: usize) -> io::Result<Vec<u8>> {
        let left = usize::try_from(self.length.saturating_sub(at)).unwrap_or(most);
        let mut bytes = vec![0; left.min(most)];
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    }

    /// Keeps bytes of the blob that begin at `at`, where they are new. They come in their order.
    pub fn append(&self, at: u64, bytes: &[u8]) {
        let known = usize::try_from(self.length.saturating_sub(at)).unwrap_or(usize::MAX).min(bytes.len());
        let (at, new) = (at + known as u64, bytes.get(known..).unwrap_or_default());
        let mut closed = self.closed();
        if *closed || new.is_empty() {
            return;
        }
        if !self.partials.grow(&self.name, at + new.len() as u64) {
            // What is there stays: a hole behind it would be no part of the blob.
            *closed = true;
        } else if let Err(error) = self.file.write_all_at(new, at) {
            tracing::debug!(path = %self.path.display(), "a download is kept no more: {error}");
            self.empty(&mut closed);
        }
    }

    /// Gives back what it takes of the disk, at once. Nothing is kept of this blob any more.
    pub fn give_up(&self) {
        self.empty(&mut self.closed());
    }

    fn closed(&self) -> MutexGuard<'_, bool> {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn empty(&self, closed: &mut bool) {
        *closed = true;
        if let Err(error) = self.file.set_len(0).and_then(|()| fs::remove_file(&self.path))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.path.display(), "cannot remove a part of a layer: {error}");
        }
        self.partials.grow(&self.name, 0);
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        let mut held = self.partials.held();
        let bytes = held.open.remove(&self.name).unwrap_or(0);
        held.idle += bytes;
        if bytes == 0 {
            // Of nothing there is nothing to keep; it may be gone already.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Which of them go, and the bytes of those that stay: what is old or no blob goes, and the oldest of what is too many or too much.
fn sort_out(mut idle: Vec<Idle>, keep: &Keep, room: u64) -> (Vec<PathBuf>, u64) {
    idle.sort_by_key(|one| one.age);
    let (mut gone, mut count, mut bytes) = (Vec::new(), 0, 0_u64);
    for one in idle {
        let fits = bytes.saturating_add(one.bytes) <= room && count < keep.count;
        if fits && one.age <= keep.age && is_blob(&one.path) {
            count += 1;
            bytes += one.bytes;
        } else {
            gone.push(one.path);
        }
    }
    (gone, bytes)
}

fn is_blob(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    Digest::parse(&name.replacen('-', ":", 1)).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Part;

    const KEEP: Keep = Keep { least: 4, bytes: 100, count: 2, age: Duration::from_secs(60) };

    fn name(digit: char) -> String {
        format!("sha256-{}", digit.to_string().repeat(64))
    }

    fn blob(digit: char, size: u64) -> Descriptor {
        let digest = Digest::parse(&name(digit).replacen('-', ":", 1)).expect("digest");
        Descriptor { media_type: String::new(), digest, size, platform: None }
    }

    fn partials(root: &Path, free: Part) -> Arc<Partials> {
        Partials::new(root, KEEP, Reserve { bytes: vec![free], inodes: Vec::new() })
    }

    #[test]
    fn the_youngest_stay_within_their_number_their_bytes_and_their_age() {
        let idle = |name: &str, bytes, age| Idle { path: name.into(), bytes, age: Duration::from_secs(age) };
        let (a, b, c) = (name('a'), name('b'), name('c'));
        for (found, room, gone, kept) in [
            (vec![], 100, vec![], 0),
            (vec![idle(&a, 60, 9), idle(&b, 40, 1)], 100, vec![], 100),
            (vec![idle(&a, 61, 9), idle(&b, 40, 1)], 100, vec![&a], 40),
            (vec![idle(&a, 1, 9), idle(&b, 1, 1), idle(&c, 1, 5)], 100, vec![&a], 2),
            (vec![idle(&a, 1, 61), idle(&b, 1, 60)], 100, vec![&a], 1),
            (vec![idle("notes", 1, 1)], 100, vec![&"notes".to_owned()], 0),
            (vec![idle(&a, 1, 1)], 0, vec![&a], 0),
        ] {
            let told = format!("{found:?}");
            let gone: Vec<PathBuf> = gone.into_iter().map(PathBuf::from).collect();
            assert_eq!(sort_out(found, &KEEP, room), (gone, kept), "{told}");
        }
    }

    #[test]
    fn what_is_no_part_of_a_layer_goes_be_it_a_folder() {
        let dir = tempfile::tempdir().expect("tempdir");
        fs::create_dir_all(dir.path().join("notes/more")).expect("folders");
        fs::write(dir.path().join("note"), "x").expect("file");
        partials(dir.path(), Part::Units(0)).sweep().expect("sweep");
        assert_eq!(fs::read_dir(dir.path()).expect("read").count(), 0);
    }

    #[test]
    fn what_was_kept_is_read_again_and_goes_on_where_it_ended() {
        let dir = tempfile::tempdir().expect("tempdir");
        let all = partials(dir.path(), Part::Units(0));
        assert!(all.open(&blob('a', 3)).is_none(), "too small to be worth it");
        let first = all.open(&blob('a', 10)).expect("a file");
        assert!(all.open(&blob('a', 10)).is_none(), "another pull of the same blob");
        first.append(0, b"0123");
        first.append(4, b"45");
        drop(first);
        assert_eq!(all.bytes(), 6);
        let again = all.open(&blob('a', 10)).expect("a file");
        assert_eq!(
            (again.length, again.read(2, 3).expect("read"), again.read(5, 99).expect("read")),
            (6, b"234".to_vec(), b"5".to_vec())
        );
        // Bytes that are there are not written again, and what goes over their end is.
        again.append(4, b"xx67");
        drop(again);
        assert_eq!(fs::read(dir.path().join(name('a'))).expect("file"), b"01234567");
        assert_eq!(all.open(&blob('a', 7)).expect("a file").length, 0, "more than the blob has is no part of it");
        assert!(!dir.path().join(name('a')).exists(), "nothing is kept of nothing");
    }

    #[test]
    fn no_more_is_kept_than_may_be_and_what_is_given_up_is_gone_at_once() {
        let dir = tempfile::tempdir().expect("tempdir");
        let all = partials(dir.path(), Part::Units(0));
        let (a, b) = (all.open(&blob('a', 90)).expect("a"), all.open(&blob('b', 90)).expect("b"));
        a.append(0, &[1; 60]);
        b.append(0, &[2; 40]);
        b.append(40, &[2; 1]);
        a.give_up();
        a.append(60, &[1; 1]);
        b.append(41, &[2; 1]);
        assert!(a.read(0, 1).expect("nothing was there").is_empty());
        assert!(!dir.path().join(name('a')).exists());
        drop((a, b));
        assert_eq!((all.bytes(), fs::read(dir.path().join(name('b'))).expect("b")), (40, vec![2; 40]), "no hole");
        let c = all.open(&blob('c', 90)).expect("c");
        assert!(!dir.path().join(name('b')).exists(), "it made room");
        c.append(0, &[3; 5]);
        drop(c);

        let short = partials(dir.path(), Part::Units(u64::MAX));
        assert!(short.open(&blob('d', 90)).is_none(), "nothing is begun on a disk that is short");
        let c = short.open(&blob('c', 90)).expect("what is there is used");
        short.sweep().expect("sweep");
        assert_eq!(c.read(0, 9).expect("in use"), [3; 5]);
        drop(c);
        short.sweep().expect("sweep");
        assert_eq!(fs::read_dir(dir.path()).expect("read").count(), 0);
    }
}

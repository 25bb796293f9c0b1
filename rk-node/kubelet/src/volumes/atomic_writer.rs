//! Publishing a set of files so that a reader sees either all of the old or all of the new.
//!
//! The files live in a directory of their own, `..data` is a symlink to it and is replaced by rename; what the user sees are
//! symlinks through `..data`. The layout is upstream's, which programs that watch `..data` rely on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

const DATA: &str = "..data";
const DATA_NEW: &str = "..data_tmp";

/// One file to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEntry {
    /// Content.
    pub data: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
    /// Owner, when not root.
    pub owner: Option<u32>,
}

/// Files by their path relative to the volume.
pub type Payload = BTreeMap<String, FileEntry>;

/// Publishes `payload` in `target`; `finish` sets ownership of the new directory before anybody sees it. Returns whether anything changed.
pub fn publish(target: &Path, payload: &Payload, finish: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<bool> {
    for path in payload.keys() {
        check(path)?;
    }
    let old = fs::read_link(target.join(DATA)).ok().filter(|p| p.components().count() == 1);
    if let Some(old) = &old
        && same(&target.join(old), payload)
    {
        link_visible(target, payload)?;
        return Ok(false);
    }
    let fresh = new_directory(target)?;
    let place = target.join(&fresh);
    if let Err(error) = write_files(&place, payload).and_then(|()| finish(&place)) {
        // Whoever tries again does not fill what has no room.
        let _ = fs::remove_dir_all(&place);
        return Err(error);
    }
    let new_link = target.join(DATA_NEW);
    remove_if_there(&new_link)?;
    symlink(&fresh, &new_link)?;
    fs::rename(&new_link, target.join(DATA))?;
    link_visible(target, payload)?;
    if let Some(old) = old.filter(|o| *o != fresh) {
        fs::remove_dir_all(target.join(old))?;
    }
    Ok(true)
}

fn check(path: &str) -> io::Result<()> {
    let bad =
        |reason: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, format!("invalid path {path:?}: {reason}")));
    if path.is_empty() || path.len() > 4096 {
        return bad("it must have 1 to 4096 characters");
    }
    if path.starts_with("..") {
        return bad("it must not start with '..'");
    }
    if Path::new(path).components().any(|c| !matches!(c, Component::Normal(_))) {
        return bad("it must be relative and stay below the volume");
    }
    Ok(())
}

fn new_directory(target: &Path) -> io::Result<PathBuf> {
    let stamp = jiff::Timestamp::now().strftime("..%Y_%m_%d_%H_%M_%S").to_string();
    for _ in 0..16 {
        let name = PathBuf::from(format!("{stamp}.{:010}", rand::random::<u32>()));
        match fs::create_dir(target.join(&name)) {
            Ok(()) => {
                // The process' umask must not decide what pods may read.
                fs::set_permissions(target.join(&name), fs::Permissions::from_mode(0o755))?;
                return Ok(name);
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
        }
    }
    Err(io::Error::other("no free name for a new data directory"))
}

fn write_files(dir: &Path, payload: &Payload) -> io::Result<()> {
    for (path, entry) in payload {
        let file = dir.join(path);
        if let Some(parent) = file.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&file, &entry.data)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(entry.mode & 0o7777))?;
        if let Some(owner) = entry.owner {
            std::os::unix::fs::chown(&file, Some(owner), None)?;
        }
    }
    Ok(())
}

/// Whether the published files are exactly `payload` (modes aside: ownership may have widened them).
fn same(dir: &Path, payload: &Payload) -> bool {
    let mut found = BTreeSet::new();
    if walk(dir, Path::new(""), &mut found, 0).is_err() || found.len() != payload.len() {
        return false;
    }
    payload.iter().all(|(path, entry)| {
        let normal: PathBuf = Path::new(path).components().collect();
        found.contains(&normal) && fs::read(dir.join(path)).is_ok_and(|data| data == entry.data)
    })
}

fn walk(root: &Path, below: &Path, found: &mut BTreeSet<PathBuf>, depth: usize) -> io::Result<()> {
    if depth > 64 {
        return Err(io::Error::other("the volume is nested too deeply"));
    }
    for entry in fs::read_dir(root.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            walk(root, &path, found, depth + 1)?;
        } else {
            found.insert(path);
        }
    }
    Ok(())
}

/// Makes the visible links of the payload and removes those of files that are gone.
fn link_visible(target: &Path, payload: &Payload) -> io::Result<()> {
    let wanted: BTreeSet<&std::ffi::OsStr> = payload
        .keys()
        .filter_map(|path| match Path::new(path).components().next() {
            Some(Component::Normal(first)) => Some(first),
            _ => None,
        })
        .collect();
    for entry in fs::read_dir(target)? {
        let entry = entry?;
        let name = entry.file_name();
        if !name.as_encoded_bytes().starts_with(b"..")
            && !wanted.contains(name.as_os_str())
            && entry.file_type()?.is_symlink()
        {
            fs::remove_file(entry.path())?;
        }
    }
    for name in wanted {
        let link = target.join(name);
        match symlink(Path::new(DATA).join(name), &link) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            other => other?,
        }
    }
    Ok(())
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(files: &[(&str, &str)]) -> Payload {
        let entry = |data: &str| FileEntry { data: data.into(), mode: 0o644, owner: None };
        files.iter().map(|(path, data)| ((*path).to_owned(), entry(data))).collect()
    }

    fn visible(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|n| !n.starts_with(".."));
        names.sort();
        names
    }

    #[test]
    fn an_update_swaps_all_files_at_once_and_an_equal_one_does_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path();
        assert!(publish(target, &payload(&[("a", "1"), ("d/e/f", "2")]), |_| Ok(())).unwrap());
        let first = fs::read_link(target.join(DATA)).unwrap();
        assert!(!publish(target, &payload(&[("a", "1"), ("d/e/f", "2")]), |_| Ok(())).unwrap());
        assert_eq!(fs::read_link(target.join(DATA)).unwrap(), first);
        assert_eq!(fs::read_to_string(target.join("d/e/f")).unwrap(), "2");
        assert!(publish(target, &payload(&[("a", "3"), ("b", "4")]), |_| Ok(())).unwrap());
        assert_eq!(visible(target), ["a", "b"]);
        assert_eq!(fs::read_to_string(target.join("a")).unwrap(), "3");
        assert!(!target.join(first).exists(), "the old files are gone");
    }

    #[test]
    fn paths_that_leave_the_volume_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        for bad in ["", "/a", "../a", "a/../b", "..data", "./a"] {
            assert!(publish(dir.path(), &payload(&[(bad, "x")]), |_| Ok(())).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_failed_finish_leaves_the_old_files_in_place() {
        let dir = tempfile::tempdir().unwrap();
        publish(dir.path(), &payload(&[("a", "1")]), |_| Ok(())).unwrap();
        publish(dir.path(), &payload(&[("a", "2")]), |_| Err(io::Error::other("no"))).unwrap_err();
        assert_eq!(fs::read_to_string(dir.path().join("a")).unwrap(), "1");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3, "the file, the link to all and what that is of");
    }
}

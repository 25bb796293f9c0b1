//! Writing state so that a torn write is never seen: new file, fsync, rename, fsync of the directory.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use serde::de::DeserializeOwned;

/// Below the kubelet's directory: where plugins show that they are there.
pub const PLUGINS_REGISTRY: &str = "plugins_registry";
/// What is below the kubelet's directory from the start.
const FROM_THE_START: [&str; 3] = ["pods", "plugins", PLUGINS_REGISTRY];

/// Makes the directories of the kubelet that pods, first of all those of drivers, look for before there is anything in them.
pub fn make_dirs(kubelet: &Path) -> io::Result<()> {
    let mut made = DirBuilder::new();
    made.recursive(true).mode(0o750);
    FROM_THE_START.iter().try_for_each(|name| made.create(kubelet.join(name)))
}

/// Replaces `path` with `data` and `mode` in one step. The parent directory is made when absent.
pub fn write_atomically(path: &Path, data: &[u8], mode: u32) -> io::Result<()> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent)?;
    let name =
        path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path has no file name"))?;
    let mut new_name = std::ffi::OsString::from(".");
    new_name.push(name);
    new_name.push(".new");
    let new_path = parent.join(new_name);
    // A leftover of an interrupted write is worthless.
    match fs::remove_file(&new_path) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new_path)?;
    file.write_all(data)?;
    file.sync_all()?;
    fs::rename(&new_path, path)?;
    File::open(parent)?.sync_all()
}

/// Reads a file, with `None` for an absent one.
pub fn read_optional(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(data) => Ok(Some(data)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Reads what a file has in JSON, with `None` for an absent one. What is no such value is an error.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let text = read_optional(path)?;
    text.map(|text| serde_json::from_slice(&text)).transpose().map_err(io::Error::other)
}

/// As [`read_json`], of what can be found out anew: what cannot be read is as if it were absent, and `lost` tells the log what comes of
/// that.
pub fn read_or_default<T: DeserializeOwned + Default>(path: &Path, lost: &str) -> T {
    let read = read_json(path).unwrap_or_else(|error| {
        tracing::warn!("{} cannot be read, {lost}: {error}", path.display());
        None
    });
    read.unwrap_or_default()
}

/// Whether a file says this and nothing else. Others may write into it: no more of it is read than it takes to tell.
pub fn says(path: &Path, text: &str) -> bool {
    let most = u64::try_from(text.len()).unwrap_or(u64::MAX).saturating_add(1);
    let mut said = Vec::new();
    let read = File::open(path).and_then(|file| file.take(most).read_to_end(&mut said));
    read.is_ok() && said == text.as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pods_of_drivers_look_for_is_there_from_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let kubelet = dir.path().join("kubelet");
        for _ in 0..2 {
            make_dirs(&kubelet).unwrap();
        }
        assert!(["pods", "plugins", "plugins_registry"].iter().all(|name| kubelet.join(name).is_dir()));
    }

    #[test]
    fn a_file_says_what_it_says_and_is_not_read_beyond_that() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hosts");
        assert!(!says(&path, ""), "there is none");
        fs::write(&path, "one").unwrap();
        for (text, same) in [("one", true), ("on", false), ("ones", false), ("", false)] {
            assert_eq!(says(&path, text), same, "{text}");
        }
        assert!(!says(Path::new("/dev/zero"), "\0\0\0"), "it has no end");
    }

    #[test]
    fn what_cannot_be_read_is_an_error_or_as_if_it_were_absent() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("numbers");
        let told = || (read_json::<Vec<u8>>(&path).ok(), read_or_default::<Vec<u8>>(&path, "they are counted anew"));
        assert_eq!(told(), (Some(None), vec![]));
        fs::write(&path, "[1, 2]").unwrap();
        assert_eq!(told(), (Some(Some(vec![1, 2])), vec![1, 2]));
        fs::write(&path, "[1,").unwrap();
        assert_eq!(told(), (None, vec![]));
    }

    #[test]
    fn a_rewrite_replaces_the_whole_file_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        write_atomically(&path, b"a longer first text", 0o600).unwrap();
        fs::write(dir.path().join("a/.b.new"), b"torn").unwrap();
        write_atomically(&path, b"second", 0o600).unwrap();
        assert_eq!(read_optional(&path).unwrap().as_deref(), Some(&b"second"[..]));
        assert_eq!(fs::read_dir(dir.path().join("a")).unwrap().count(), 1);
    }
}

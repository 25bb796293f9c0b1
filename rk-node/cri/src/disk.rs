//! Records as files: a reader sees the old one or the new one, never a torn one.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{IoContext, Result};

/// Name of the record in its object's directory.
const RECORD: &str = "record.json";
/// Its name until it is whole.
const NEW: &str = "record.new";

/// Writes the record of the object in `dir`, made if need be. It outlives a loss of power.
pub(crate) fn save<T: Serialize>(dir: &Path, record: &T) -> Result<()> {
    let (new, path) = (dir.join(NEW), dir.join(RECORD));
    write(dir, &new, record)?.sync_all().at("sync", &new)?;
    fs::rename(&new, &path).at("rename to", &path)?;
    File::open(dir).and_then(|d| d.sync_all()).at("sync", dir)
}

/// As [`save`], but a loss of power may bring the record before it back, or none where there was none: what it adds ends with the boot, or
/// is saved again before it counts.
pub(crate) fn replace<T: Serialize>(dir: &Path, record: &T) -> Result<()> {
    let (new, path) = (dir.join(NEW), dir.join(RECORD));
    write(dir, &new, record)?;
    fs::rename(&new, &path).at("rename to", &path)
}

fn write<T: Serialize>(dir: &Path, file: &Path, record: &T) -> Result<File> {
    fs::create_dir_all(dir).at("create", dir)?;
    let text = serde_json::to_vec(record).map_err(std::io::Error::from).at("encode", file)?;
    let mut written = File::create(file).at("create", file)?;
    written.write_all(&text).at("write", file)?;
    Ok(written)
}

/// An object's directory and its record: `None` where that is missing, torn or foreign, an error where the disk does not give it now.
pub(crate) type Found<T> = (PathBuf, io::Result<Option<T>>);

/// Every object under `dir`.
pub(crate) fn load_all<T: DeserializeOwned>(dir: &Path) -> Result<Vec<Found<T>>> {
    fs::create_dir_all(dir).at("create", dir)?;
    let mut out = Vec::new();
    for entry in fs::read_dir(dir).at("read", dir)?.flatten() {
        let path = entry.path();
        let record = match fs::read(path.join(RECORD)) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
            read => read.map(|text| serde_json::from_slice(&text).ok()),
        };
        out.push((path, record));
    }
    Ok(out)
}

/// Removes an object's directory; absent ones are fine. The record goes first, so that a crash half way leaves no object that looks
/// alive.
pub(crate) fn remove(dir: &Path) -> Result<()> {
    let _ = fs::remove_file(dir.join(RECORD));
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).at("remove", dir),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_replaced_whole_whether_flushed_or_not() {
        let dir = tempfile::tempdir().unwrap();
        let object = dir.path().join("object");
        let read = || load_all::<u8>(dir.path()).unwrap().remove(0).1.unwrap();
        replace(&object, &1u8).unwrap();
        assert_eq!(read(), Some(1));
        save(&object, &2u8).unwrap();
        assert_eq!(read(), Some(2));
        replace(&object, &3u8).unwrap();
        assert_eq!(read(), Some(3));
        // A process that was killed while it wrote.
        fs::write(object.join(NEW), "4").unwrap();
        assert_eq!(read(), Some(3));
        assert_eq!(fs::read_dir(&object).unwrap().count(), 2);
        save(&object, &5u8).unwrap();
        assert_eq!((read(), fs::read_dir(&object).unwrap().count()), (Some(5), 1));
    }

    #[test]
    fn a_torn_record_is_reported_as_none_and_does_not_hide_the_others() {
        let dir = tempfile::tempdir().unwrap();
        save(&dir.path().join("good"), &7u8).unwrap();
        fs::create_dir(dir.path().join("torn")).unwrap();
        fs::write(dir.path().join("torn/record.json"), "{").unwrap();
        let all = load_all::<u8>(dir.path()).unwrap();
        let mut all: Vec<_> = all.into_iter().map(|(path, record)| (path, record.unwrap())).collect();
        all.sort();
        assert_eq!(all.iter().map(|(_, r)| *r).collect::<Vec<_>>(), [Some(7), None]);
        remove(&dir.path().join("good")).unwrap();
        remove(&dir.path().join("good")).unwrap();
        assert_eq!(load_all::<u8>(dir.path()).unwrap().len(), 1);
    }
}

//! Small documents that outlive a crash.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

use serde::{Serialize, de::DeserializeOwned};

use crate::error::{IoContext, Result};

/// `None` when absent, torn, foreign or not to be read.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// `None` when absent, torn or foreign; an error when that cannot be told now. Who removes what has no record asks so.
pub(crate) fn read_record<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    judge(fs::read(path))
}

fn judge<T: DeserializeOwned>(read: io::Result<Vec<u8>>) -> io::Result<Option<T>> {
    match read {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
    }
}

/// Write new, fsync, rename, fsync the directory.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let bytes = serde_json::to_vec(value).map_err(io::Error::from).at("encode", path)?;
    let new = path.with_extension("new");
    let mut file = File::create(&new).at("create", &new)?;
    let written = file.write_all(&bytes).and_then(|()| file.sync_all());
    if let Err(error) = written.and_then(|()| fs::rename(&new, path)) {
        let _ = fs::remove_file(&new);
        return Err::<(), _>(error).at("write", path);
    }
    sync_dir(path.parent().unwrap_or(Path::new(".")))
}

pub(crate) fn sync_dir(path: &Path) -> Result<()> {
    File::open(path).and_then(|directory| directory.sync_all()).at("flush", path)
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn a_record_is_lost_when_it_is_absent_or_torn_and_not_when_it_cannot_be_read() {
        for (read, told) in [
            (Ok(b"[7]".to_vec()), Some(Some(vec![7]))),
            (Ok(b"[7".to_vec()), Some(None)),
            (Err(Errno::NOENT), Some(None)),
            (Err(Errno::NOTDIR), Some(None)),
            (Err(Errno::IO), None),
            (Err(Errno::NODATA), None),
            (Err(Errno::MFILE), None),
            (Err(Errno::NFILE), None),
            (Err(Errno::NOMEM), None),
        ] {
            let said = format!("{read:?}");
            assert_eq!(judge::<Vec<u8>>(read.map_err(io::Error::from)).ok(), told, "{said}");
        }
    }

    #[test]
    fn a_document_is_read_as_it_was_written_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("a.json");
        assert_eq!((read_record::<Vec<u8>>(&path).expect("absent"), read_json::<Vec<u8>>(&path)), (None, None));
        for value in [vec![1_u8], vec![2, 3]] {
            write_json(&path, &value).expect("write");
            assert_eq!(read_record(&path).expect("read"), Some(value));
        }
        assert_eq!(fs::read_dir(dir.path()).expect("directory").count(), 1);
    }
}

//! Reading and atomically replacing the PKI's files.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use super::PkiError;

fn failed(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> PkiError {
    let path = path.to_owned();
    move |source| PkiError::File { action, path, source }
}

pub(super) fn create_dir(path: &Path) -> Result<(), PkiError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("create", path))
}

/// The file's text, or nothing when there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<String>, PkiError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path)(error)),
    }
}

pub(super) fn write_private(path: &Path, content: &[u8]) -> Result<(), PkiError> {
    write(path, content, 0o600)
}

pub(super) fn write_public(path: &Path, content: &[u8]) -> Result<(), PkiError> {
    write(path, content, 0o644)
}

/// Write-new, fsync, rename, fsync of the directory: a reader sees the old file or the new one, never a torn one.
fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), PkiError> {
    let fresh = path.with_extension(format!("new-{}", std::process::id()));
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed("remove", &fresh)(error)),
        _ => {}
    }
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(mode).open(&fresh).map_err(failed("create", &fresh))?;
    file.write_all(content).map_err(failed("write", &fresh))?;
    file.sync_all().map_err(failed("sync", &fresh))?;
    fs::rename(&fresh, path).map_err(failed("replace", path))?;
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("sync", dir))?;
    }
    Ok(())
}

//! The machine's own STATE partition, for [`crate::moving`].

use crate::console::{Journal, chain};
use crate::crypt::{self, STATE};
use crate::moving::{self, Files, Place};
use crate::{discover, services, state};
use rk_config::{Encryption, STATE_DIR};
use std::fs;
use std::path::{Path, PathBuf};

/// Files of STATE that move: few and small.
const MOST_FILES: usize = 64;

/// See the module.
pub struct OwnState {
    /// The partition.
    pub partition: PathBuf,
    /// A passphrase that somebody gave.
    pub offered: Option<String>,
}

impl OwnState {
    /// What is in STATE, which is plain and mounted; it is not afterwards.
    ///
    /// # Errors
    /// It cannot be read or unmounted.
    pub fn empty(&self) -> Result<Files, String> {
        let failed = |err: std::io::Error| format!("{STATE_DIR}: {err}");
        let mut files = Vec::new();
        for entry in fs::read_dir(STATE_DIR).map_err(failed)?.flatten().take(MOST_FILES) {
            if let (true, Ok(name)) =
                (entry.file_type().is_ok_and(|kind| kind.is_file()), entry.file_name().into_string())
            {
                files.push((name, fs::read_to_string(entry.path()).map_err(failed)?));
            }
        }
        rk_sys::unmount(Path::new(STATE_DIR)).map_err(|err| chain(&err))?;
        Ok(Files(files))
    }

    /// Takes back a note that came to nothing, when the plain STATE is mounted and still holds its config. Answers whether it does.
    pub fn stays_plain(&mut self) -> bool {
        let Some(files) = self.note() else { return true };
        let here = fs::read_to_string(Path::new(STATE_DIR).join(discover::KEPT)).ok();
        here.as_deref() == files.text(discover::KEPT) && self.erase().is_ok()
    }
}

/// How the config among the files wants STATE.
fn plan(files: &Files) -> Encryption {
    let parsed = files.text(discover::KEPT).and_then(|text| rk_config::parse(text).ok());
    parsed.map(|parsed| parsed.config.disks.encryption).unwrap_or_default()
}

impl Place for OwnState {
    fn note(&mut self) -> Option<Files> {
        moving::read(&self.partition)
    }

    fn leave(&mut self, files: &Files) -> Result<(), String> {
        moving::write(&self.partition, files)
    }

    fn erase(&mut self) -> Result<(), String> {
        moving::erase(&self.partition)
    }

    fn is_volume(&mut self) -> bool {
        let found = rk_sys::read_superblock(&self.partition).ok().flatten();
        found.is_some_and(|found| found.fstype == "crypto_LUKS" && found.label == STATE.label)
    }

    fn encrypt(&mut self, files: &Files) -> Result<String, String> {
        crypt::format(&STATE, &self.partition, &plan(files))
    }

    fn open(&mut self, files: &Files) -> Result<String, String> {
        if crypt::opened(&STATE).is_some() {
            return Ok("what opened it before".to_owned());
        }
        let passphrases = self.offered.clone().into_iter().chain(plan(files).passphrase).collect();
        crypt::open(&STATE, &self.partition, passphrases)
    }

    fn mount(&mut self) -> Result<(), String> {
        let mounted = state::mount(&mut Journal::default());
        mounted.then_some(()).ok_or_else(|| "the encrypted STATE cannot be mounted".to_owned())
    }

    fn has(&mut self, name: &str) -> bool {
        Path::new(STATE_DIR).join(name).exists()
    }

    fn put(&mut self, name: &str, text: &str) -> Result<(), String> {
        // A name of our own, read from our own folder; a torn one must not lead elsewhere.
        let name = Path::new(name).file_name().ok_or("a file without a name")?;
        services::write_new(&Path::new(STATE_DIR).join(name), text, 0o600).map_err(|err| format!("{STATE_DIR}: {err}"))
    }
}

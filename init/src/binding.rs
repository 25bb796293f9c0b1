//! What ties DATA to STATE: a secret that lies on an encrypted STATE and is half of what opens DATA beside the TPM's.
//!
//! Without it a TPM would open DATA for whoever exchanges STATE, and so its config; and a STATE that has it takes no DATA that does not know it.

use crate::crypt::{self, STATE};
use crate::services;
use rk_config::STATE_DIR;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

const FILE: &str = "data-key";
const BYTES: usize = 32;

fn path() -> PathBuf {
    Path::new(STATE_DIR).join(FILE)
}

/// The secret, when STATE is an encrypted one that has bound a DATA.
pub fn here() -> Option<String> {
    crypt::opened(&STATE)?;
    // A torn file opens nothing, and lets nothing in either.
    fs::read_to_string(path()).ok()
}

/// Makes a new one; `None` where STATE is not encrypted and could keep none. What the one before opened must be gone.
///
/// # Errors
/// STATE cannot be written.
pub fn make() -> Result<Option<String>, String> {
    if crypt::opened(&STATE).is_none() {
        return Ok(None);
    }
    let mut bytes = [0; BYTES];
    File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).map_err(|err| err.to_string())?;
    let secret = hex::encode(bytes);
    services::write_new(&path(), &secret, 0o600).map_err(|err| format!("{}: {err}", path().display()))?;
    Ok(Some(secret))
}

/// DATA was erased: any other may come.
pub fn forget() {
    let _ = fs::remove_file(path());
}

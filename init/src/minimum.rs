//! The oldest version that this machine may run: remembered on the state disk once a slot is good, never lowered.

use crate::console::Journal;
use crate::services;
use rk_config::STATE_DIR;
use rk_slots::Version;
use rk_slots::version::{MINIMUM, MINIMUM_FILE, highest};
use std::fs;
use std::path::{Path, PathBuf};

fn path() -> PathBuf {
    Path::new(STATE_DIR).join(MINIMUM_FILE)
}

/// What is remembered.
pub fn recorded() -> Option<Version> {
    Version::parse(&fs::read_to_string(path()).unwrap_or_default())
}

/// Remembers what the version that runs asks for, if it is more. A slot on trial asks for nothing: the other one must be able to
/// return.
pub fn raise(journal: &mut Journal) {
    journal.check("remembering the oldest version allowed", raise_in(&path()));
}

fn raise_in(path: &Path) -> std::io::Result<()> {
    let before = fs::read_to_string(path).unwrap_or_default();
    let wanted = highest([before.as_str(), MINIMUM]);
    match wanted {
        Some(version) if Version::parse(&before) != wanted => services::write_new(path, &version.to_string(), 0o600),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_minimum_rises_and_never_falls() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(MINIMUM_FILE);
        for (before, after) in [("torn\0", MINIMUM), ("0.0.1", MINIMUM), ("77.0.0", "77.0.0")] {
            fs::write(&path, before).unwrap();
            raise_in(&path).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), after);
        }
    }
}

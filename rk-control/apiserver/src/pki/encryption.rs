//! The keys that Secrets are encrypted by in the store, where no configuration names others.
//!
//! `secretbox.key` is what PID 1 or an administrator puts there: the key that writes. `secretbox.keys` holds every key that ever wrote,
//! the latest first, so that another key takes nothing away that an earlier one wrote. Both hold base64, a key a line.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::{PkiError, files};

const GIVEN: &str = "secretbox.key";
const RING: &str = "secretbox.keys";
/// Bytes of a key.
const KEY_SIZE: usize = 32;

/// The keys with their names, the first of which writes; none where Secrets are stored in plain.
///
/// A control plane that is `alone` on its store and has no authority yet makes a key, before it stores anything. One that was made
/// without a key goes on without. A key is on the disk before it is answered.
///
/// # Errors
/// A file cannot be read or written.
pub fn encryption_keys(dir: &Path, alone: bool) -> Result<Vec<(String, String)>, PkiError> {
    files::create_dir(dir)?;
    let mut ring = lines(&dir.join(RING))?;
    let given = given(&dir.join(GIVEN))?;
    let fresh = alone && ring.is_empty() && !["ca.crt", "ca.key"].iter().any(|name| dir.join(name).exists());
    let writes = given.or_else(|| fresh.then(|| STANDARD.encode(rand::random::<[u8; KEY_SIZE]>())));
    if let Some(key) = writes.filter(|key| ring.first() != Some(key)) {
        ring.retain(|old| *old != key);
        ring.insert(0, key);
        files::write_private(&dir.join(RING), format!("{}\n", ring.join("\n")).as_bytes())?;
    }
    Ok(ring.into_iter().map(|key| (name(&key), key)).collect())
}

/// The key that is to write. One of another form is refused before it gets among the others.
fn given(path: &Path) -> Result<Option<String>, PkiError> {
    let Some(key) = lines(path)?.into_iter().next() else { return Ok(None) };
    if STANDARD.decode(&key).is_ok_and(|key| key.len() == KEY_SIZE) {
        return Ok(Some(key));
    }
    Err(PkiError::Content { path: path.to_owned(), what: "key of 32 bytes in base64" })
}

fn lines(path: &Path) -> Result<Vec<String>, PkiError> {
    let text = files::read(path)?.unwrap_or_default();
    Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

/// What stored values call a key: the same wherever the key is, and nothing that leads to it.
fn name(key: &str) -> String {
    let mut digest = hex::encode(Sha256::digest(key.as_bytes()));
    digest.truncate(8);
    digest
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn keys(dir: &Path, alone: bool) -> Vec<String> {
        encryption_keys(dir, alone).expect("keys").into_iter().map(|(_, key)| key).collect()
    }

    #[test]
    fn a_new_cluster_gets_a_key_that_stays_and_an_old_one_or_one_of_several_gets_none() {
        let dir = tempfile::tempdir().expect("dir");
        let (new, old, shared) = (dir.path().join("new"), dir.path().join("old"), dir.path().join("shared"));
        let made = keys(&new, true);
        assert_eq!(STANDARD.decode(&made[0]).expect("base64").len(), 32);
        let mode = std::fs::metadata(new.join(RING)).expect("file").permissions().mode();
        assert_eq!((made.len(), mode & 0o777), (1, 0o600));
        std::fs::write(new.join("ca.crt"), "").expect("written");
        assert_eq!(keys(&new, true), made, "after a crash, and ever after");
        std::fs::create_dir(&old).expect("dir");
        std::fs::write(old.join("ca.key"), "").expect("written");
        assert!(keys(&old, true).is_empty() && keys(&shared, false).is_empty());
        assert_ne!(keys(&dir.path().join("other"), true), made);
    }

    #[test]
    fn a_key_that_is_given_writes_and_those_before_it_still_read() {
        let dir = tempfile::tempdir().expect("dir");
        let own = keys(dir.path(), true).remove(0);
        let (a, b) = (STANDARD.encode([1u8; KEY_SIZE]), STANDARD.encode([2u8; KEY_SIZE]));
        let give = |key: &str| {
            std::fs::write(dir.path().join(GIVEN), format!("{key}\n")).expect("written");
            keys(dir.path(), true)
        };
        assert_eq!(give(&a), [a.as_str(), &own]);
        assert_eq!(give(&a), [a.as_str(), &own]);
        assert_eq!(give(&b), [b.as_str(), &a, &own]);
        assert_eq!(give(&a), [a.as_str(), &b, &own]);
        std::fs::write(dir.path().join(GIVEN), "no key").expect("written");
        let error = encryption_keys(dir.path(), true).expect_err("refused").to_string();
        assert!(error.contains("secretbox.key does not hold a usable key of 32 bytes"), "{error}");
        std::fs::remove_file(dir.path().join(GIVEN)).expect("removed");
        assert_eq!(keys(dir.path(), true), [a.as_str(), &b, &own], "one that is taken away is not forgotten");
        let named = encryption_keys(dir.path(), true).expect("keys");
        assert!(named.iter().all(|(name, key)| name.len() == 8 && !key.contains(name.as_str())));
        assert_ne!(named[0].0, named[1].0);
    }
}

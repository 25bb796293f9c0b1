//! Forgetting: a machine that was told to reset erases what was asked for at its next start, before anything uses it.
//!
//! A note on the state disk says what. It goes last, so that a power cut only means that all is erased once more. Files are removed,
//! and file systems not made anew, but for what is encrypted or is to be: that begins with new keys.

use crate::binding;
use crate::console::{Journal, chain};
use crate::crypt::{self, DATA, STATE};
use crate::services;
use crate::storage::Storage;
use rk_config::{Encryption, STATE_DIR};
use rk_sys::{End, SysError};
use std::convert::Infallible;
use std::fs::{self, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const NOTE: &str = "reset";
const MIB: u64 = 1 << 20;
/// Made by mkfs and wanted by fsck.
const LOST_AND_FOUND: &str = "lost+found";
/// Who the node was to its cluster.
const IDENTITY: [&str; 2] = ["/var/lib/rk/pki", "/var/lib/rk/machine-id"];

/// What to forget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct What {
    /// Config and identity.
    pub state: bool,
    /// Images, pods, logs.
    pub data: bool,
    /// The installation itself; the machine goes off then.
    pub disk: bool,
}

impl What {
    /// Reads words parted by blanks; `None` when there is none, or another.
    pub fn parse(words: &str) -> Option<What> {
        let mut what = What::default();
        for word in words.split_ascii_whitespace() {
            match word {
                "state" => what.state = true,
                "data" => what.data = true,
                "all" => what = What { state: true, data: true, disk: true },
                _ => return None,
            }
        }
        (what != What::default()).then_some(what)
    }

    /// Whether DATA would be left that nothing opens any more.
    fn strands_data(self, bound: bool, passphrase: bool) -> bool {
        self.state && !self.data && bound && !passphrase
    }
}

fn note() -> PathBuf {
    Path::new(STATE_DIR).join(NOTE)
}

/// Leaves the note for the next start. `passphrase`: the config has one, so that DATA opens without this STATE.
pub fn order(words: &str, passphrase: bool) -> Result<(), String> {
    let what = What::parse(words).ok_or_else(|| format!("{words:?} is nothing to reset"))?;
    if what.strands_data(binding::here().is_some(), passphrase) {
        return Err("DATA belongs to this STATE, and the config has no passphrase that would open it without: reset data as well".to_owned());
    }
    services::write_new(&note(), words, 0o600).map_err(|err| format!("writing {}: {err}", note().display()))
}

fn noted() -> Option<What> {
    fs::read_to_string(note()).ok().as_deref().and_then(What::parse)
}

/// Before DATA is mounted, with STATE mounted: what is encrypted there loses its keys, and what should be begins as if it was
/// never used. `plan`: what the config says about encryption, wherever it comes from.
pub fn forget_data(journal: &mut Journal, plan: &mut dyn FnMut(&mut Journal) -> Encryption) {
    if !noted().is_some_and(|what| what.data) {
        return;
    }
    let device = match crypt::find(journal, &DATA) {
        Some(device) => Some(device),
        None => crypt::own_partition(&DATA).filter(|_| DATA.wanted(&plan(journal)).is_some()),
    };
    let erased = device.map_or(Ok(()), |device| {
        journal.say("reset: forgetting the keys of DATA");
        crypt::blank(&DATA, &device)
    });
    if erased.is_ok() {
        binding::forget();
    }
    tell(journal, "erasing DATA", erased);
}

fn tell(journal: &mut Journal, step: &str, result: Result<(), String>) {
    if let Err(reason) = result {
        journal.say(format_args!("{step} failed: {reason}"));
    }
}

/// STATE itself loses its keys. It must be mounted; it is not afterwards.
fn forget_state(journal: &mut Journal, storage: &mut Storage) {
    let Some(device) = crypt::find(journal, &STATE) else { return };
    journal.say("reset: forgetting the keys of STATE");
    let closed = rk_sys::unmount(Path::new(STATE_DIR)).map_err(|err| chain(&err)).and_then(|()| crypt::close(&STATE));
    tell(journal, "erasing STATE", closed.and_then(|()| crypt::blank(&STATE, &device)));
    storage.forget_state();
}

/// Does what the note says; answers whether anything was. After `/var` and the state are mounted. `disk` is the one that the
/// machine runs from.
pub fn carry_out(journal: &mut Journal, disk: Option<&Path>, storage: &mut Storage) -> bool {
    let Some(what) = noted() else { return false };
    let state = fs::canonicalize(STATE_DIR).unwrap_or_else(|_| Path::new(STATE_DIR).to_owned());
    if what.data {
        journal.say("reset: erasing images, pods and logs");
        journal.check("erasing data", erase(Path::new("/var"), &state));
    }
    if what.state {
        if !what.data && binding::here().is_some() {
            journal.say("reset: DATA belongs to the STATE that goes: a passphrase opens it from now on, or nothing");
        }
        journal.say("reset: erasing config and identity");
        journal.check("erasing state", erase(&state, &state.join(NOTE)));
        for path in IDENTITY {
            let _ = fs::remove_dir_all(path).or_else(|_| fs::remove_file(path));
        }
    }
    if let Some(disk) = disk.filter(|_| what.disk) {
        journal.say(format_args!("reset: {} holds no system any more", disk.display()));
        for volume in [&STATE, &DATA] {
            if let Some(device) = crypt::find(journal, volume) {
                tell(journal, "wiping keys", crypt::wipe(volume, &device));
            }
        }
        journal.check("erasing the partition table", erase_table(disk));
    }
    let _ = fs::remove_file(note());
    if what.state && !what.disk && crypt::opened(&STATE).is_some() {
        forget_state(journal, storage);
    }
    rk_sys::sync_disks();
    if what.disk {
        let Err(err): Result<Infallible, SysError> = rk_sys::end_machine(End::PowerOff);
        journal.say(chain(&err));
    }
    true
}

/// Removes all below `folder` but `keep` and the folders on the way to it. Goes on after an error; tells the first.
fn erase(folder: &Path, keep: &Path) -> io::Result<()> {
    let mut first = Ok(());
    for entry in fs::read_dir(folder)?.flatten() {
        let path = entry.path();
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let done = if path == keep || entry.file_name() == LOST_AND_FOUND {
            Ok(())
        } else if is_dir && keep.starts_with(&path) {
            erase(&path, keep)
        } else if is_dir {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        first = first.and(done);
    }
    first
}

/// Both copies of the table, and the boot code.
fn erase_table(disk: &Path) -> io::Result<()> {
    let bytes = rk_sys::device_bytes(disk).map_err(io::Error::other)?;
    let mut file = OpenOptions::new().write(true).open(disk)?;
    let zeros = vec![0; MIB as usize];
    for at in [0, bytes.saturating_sub(MIB)] {
        file.seek(SeekFrom::Start(at))?;
        file.write_all(&zeros)?;
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_say_what_is_forgotten_and_others_say_nothing() {
        assert_eq!(What::parse("state"), Some(What { state: true, ..What::default() }));
        assert_eq!(What::parse("data state"), Some(What { state: true, data: true, disk: false }));
        assert_eq!(What::parse("all"), Some(What { state: true, data: true, disk: true }));
        for words in ["", " ", "everything", "state everything"] {
            assert_eq!(What::parse(words), None, "{words}");
        }
    }

    #[test]
    fn a_state_that_data_needs_goes_with_it_or_where_a_passphrase_is() {
        let strands = |words, bound, passphrase| What::parse(words).unwrap().strands_data(bound, passphrase);
        assert!(strands("state", true, false));
        for (words, bound, passphrase) in [
            ("state", true, true),
            ("state", false, false),
            ("state data", true, false),
            ("data", true, false),
            ("all", true, false),
        ] {
            assert!(!strands(words, bound, passphrase), "{words} {bound} {passphrase}");
        }
    }

    #[test]
    fn all_is_erased_but_what_is_kept_and_the_way_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for folder in ["lib/rk/state", "lib/rk/images/a", "log", "lost+found"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        for file in ["lib/rk/state/machine.yaml", "lib/rk/images/a/b", "log/x", "top"] {
            fs::write(at(file), "x").unwrap();
        }
        std::os::unix::fs::symlink("/nowhere", at("link")).unwrap();
        erase(dir.path(), &at("lib/rk/state")).unwrap();
        let left = |name: &str| at(name).symlink_metadata().is_ok();
        assert!(left("lib/rk/state/machine.yaml") && left("lost+found"));
        assert!(!left("lib/rk/images") && !left("log") && !left("top") && !left("link"));
    }
}

//! STATE moves into its encrypted self, and loses nothing when the machine is cut off at any moment of that.
//!
//! Encrypting a partition erases it. So what is in STATE is first written down at the end of its partition, where neither the plain nor the
//! encrypted file system lies, and checked by a sum; then the partition is encrypted, the files are put in, and the note is erased. A machine
//! that starts with a whole note goes on from there, whatever else the partition looks like: a half-erased file system may still look well.

use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// At the end of the partition.
const ROOM: u64 = 1 << 20;
const MAGIC: &[u8; 8] = b"RK-MOVES";
/// Magic, length, sum.
const HEAD: usize = 16;

/// What makes STATE whole when it is there.
const LAST: &str = crate::discover::KEPT;

/// Small texts by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files(pub Vec<(String, String)>);

impl Files {
    /// The text of this name.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(have, _)| have == name).map(|(_, text)| text.as_str())
    }

    fn encode(&self) -> Result<Vec<u8>, String> {
        let body = serde_json::to_vec(self).map_err(|err| err.to_string())?;
        let length = u32::try_from(body.len()).ok().filter(|length| u64::from(*length) + HEAD as u64 <= ROOM);
        let length = length.ok_or("what is in it is too large to move")?;
        Ok([MAGIC.as_slice(), &length.to_le_bytes(), &rk_gpt::crc32(&body).to_le_bytes(), &body].concat())
    }

    /// `None` for anything but a whole note.
    fn decode(bytes: &[u8]) -> Option<Files> {
        let (head, rest) = bytes.split_at_checked(HEAD)?;
        let number = |at: usize| Some(u32::from_le_bytes(head.get(at..at + 4)?.try_into().ok()?));
        let body = rest.get(..usize::try_from(number(8)?).ok()?)?;
        let whole = head.starts_with(MAGIC) && rk_gpt::crc32(body) == number(12)?;
        serde_json::from_slice(body).ok().filter(|_| whole)
    }
}

/// Where STATE lies, and what can be done there. Each deed is on the disk when it returns.
pub trait Place {
    /// What was written down, if that is whole.
    fn note(&mut self) -> Option<Files>;
    /// Writes it down. The plain file system stays as it is.
    fn leave(&mut self, files: &Files) -> Result<(), String>;
    /// Erases what was written down.
    fn erase(&mut self) -> Result<(), String>;
    /// Whether the partition is an encrypted volume, whole but for its files.
    fn is_volume(&mut self) -> bool;
    /// Makes it one, open and empty; answers what opens it.
    fn encrypt(&mut self, files: &Files) -> Result<String, String>;
    /// Opens it, unless it is; answers by what.
    fn open(&mut self, files: &Files) -> Result<String, String>;
    /// Mounts what was opened, unless it is.
    fn mount(&mut self) -> Result<(), String>;
    /// Whether a file of this name is there.
    fn has(&mut self, name: &str) -> bool;
    /// Writes a file there.
    fn put(&mut self, name: &str, text: &str) -> Result<(), String>;
}

/// Moves, from a plain STATE that is not mounted any more and held `files`. Answers what opens the encrypted one.
///
/// # Errors
/// In words; what was done is gone on with by [`resume`].
pub fn begin(place: &mut dyn Place, files: &Files) -> Result<String, String> {
    place.leave(files)?;
    finish(place, files)
}

/// Goes on where a machine was cut off; `None` when none was.
pub fn resume(place: &mut dyn Place) -> Option<Result<String, String>> {
    let files = place.note()?;
    Some(finish(place, &files))
}

fn finish(place: &mut dyn Place, files: &Files) -> Result<String, String> {
    let by = if place.is_volume() { place.open(files)? } else { place.encrypt(files)? };
    place.mount()?;
    // Whoever has the disk can write a note, but not into an encrypted STATE: one that has its config already takes nothing.
    if !place.has(LAST) {
        let (last, others): (Vec<_>, Vec<_>) = files.0.iter().partition(|(name, _)| name == LAST);
        for (name, text) in others.into_iter().chain(last) {
            place.put(name, text)?;
        }
    }
    place.erase()?;
    Ok(by)
}

/// Reads the note of a partition.
pub fn read(partition: &Path) -> Option<Files> {
    let mut file = File::open(partition).ok()?;
    let at = file.seek(SeekFrom::End(0)).ok()?.checked_sub(ROOM)?;
    let mut bytes = vec![0; usize::try_from(ROOM).ok()?];
    file.read_exact_at(&mut bytes, at).ok()?;
    Files::decode(&bytes)
}

/// Writes the note of a partition.
///
/// # Errors
/// A plain file system reaches to its end.
pub fn write(partition: &Path, files: &Files) -> Result<(), String> {
    let plain = rk_sys::ext4_bytes(partition).map_err(|err| rk_sys::chain(&err))?;
    put_at_end(partition, &files.encode()?, plain.unwrap_or(0))
}

/// Erases the note of a partition.
///
/// # Errors
/// The disk is broken.
pub fn erase(partition: &Path) -> Result<(), String> {
    // Its beginning alone would do, but there are secrets behind.
    put_at_end(partition, &vec![0; usize::try_from(ROOM).unwrap_or_default()], 0)
}

fn put_at_end(partition: &Path, bytes: &[u8], taken: u64) -> Result<(), String> {
    let failed = |err: std::io::Error| format!("{}: {err}", partition.display());
    let mut file = File::options().write(true).open(partition).map_err(failed)?;
    let size = file.seek(SeekFrom::End(0)).map_err(failed)?;
    let at = size.checked_sub(ROOM).filter(|at| taken <= *at);
    let at = at.ok_or("its file system leaves no room to move; install the machine anew")?;
    file.write_all_at(bytes, at).and_then(|()| file.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// A partition as a power cut leaves it, and how many more steps there is power for.
    #[derive(Debug, Clone, Default)]
    struct Disk {
        note: Vec<u8>,
        plain: bool,
        volume: bool,
        inside: BTreeMap<String, String>,
        power: usize,
        mounted: bool,
    }

    impl Disk {
        /// One write that reaches the disk, if there is power.
        fn step(&mut self) -> Result<(), String> {
            self.power = self.power.checked_sub(1).ok_or("cut")?;
            Ok(())
        }
    }

    impl Place for Disk {
        fn note(&mut self) -> Option<Files> {
            Files::decode(&self.note)
        }

        fn leave(&mut self, files: &Files) -> Result<(), String> {
            let bytes = files.encode()?;
            // Half of it may be all that reaches the disk.
            self.step()?;
            self.note = bytes[..bytes.len() / 2].to_vec();
            self.step()?;
            self.note = bytes;
            Ok(())
        }

        fn erase(&mut self) -> Result<(), String> {
            self.step()?;
            self.note.fill(0);
            Ok(())
        }

        fn is_volume(&mut self) -> bool {
            self.volume
        }

        fn encrypt(&mut self, _: &Files) -> Result<String, String> {
            self.step()?;
            (self.plain, self.volume) = (false, false);
            self.step()?;
            self.inside.clear();
            self.step()?;
            self.volume = true;
            Ok("a passphrase".to_owned())
        }

        fn open(&mut self, _: &Files) -> Result<String, String> {
            Ok("a passphrase".to_owned())
        }

        fn mount(&mut self) -> Result<(), String> {
            self.mounted = self.volume;
            if self.volume { Ok(()) } else { Err("no volume".to_owned()) }
        }

        fn has(&mut self, name: &str) -> bool {
            self.inside.contains_key(name)
        }

        fn put(&mut self, name: &str, text: &str) -> Result<(), String> {
            if !self.mounted {
                return Err("not mounted".to_owned());
            }
            self.step()?;
            self.inside.insert(name.to_owned(), text.to_owned());
            Ok(())
        }
    }

    fn files() -> Files {
        let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        Files(vec![file("machine.yaml", "role: worker\n"), file("encrypt", "\n"), file("boots", "7")])
    }

    /// What starts of the machine make of it, each cut off after `power` steps, the last one not at all.
    fn start(mut disk: Disk, power: usize) -> Disk {
        for power in [power, power, usize::MAX] {
            (disk.power, disk.mounted) = (power, false);
            let done = match resume(&mut disk) {
                Some(done) => done,
                // As ever: the plain STATE still says that it is to be encrypted.
                None if disk.plain => begin(&mut disk, &files()),
                None => Ok(String::new()),
            };
            assert!(done.is_ok() || power != usize::MAX, "{done:?} {disk:?}");
        }
        disk
    }

    #[test]
    fn a_cut_between_any_two_steps_loses_nothing_and_the_next_start_goes_on() {
        let whole: BTreeMap<String, String> = files().0.into_iter().collect();
        for first in 0..12 {
            for later in 0..12 {
                let mut disk = Disk { plain: true, power: first, ..Disk::default() };
                let _ = begin(&mut disk, &files());
                assert!(disk.plain || disk.note().is_some() || disk.inside == whole, "lost after {first}: {disk:?}");
                let disk = start(disk, later);
                assert_eq!((disk.volume, &disk.inside), (true, &whole), "after {first}, then {later}");
                assert!(disk.note.iter().all(|byte| *byte == 0), "the note is left: {disk:?}");
            }
        }
    }

    #[test]
    fn a_note_that_somebody_planted_changes_no_encrypted_state() {
        let own = BTreeMap::from([(LAST.to_owned(), "role: control-plane\n".to_owned())]);
        let note = files().encode().unwrap();
        let planted = Disk { note, volume: true, inside: own.clone(), ..Disk::default() };
        let disk = start(planted, usize::MAX);
        assert_eq!(disk.inside, own);
        assert_eq!(Files::decode(&disk.note), None);
    }

    #[test]
    fn torn_notes_are_none() {
        let good = files().encode().unwrap();
        assert_eq!(Files::decode(&good), Some(files()));
        assert_eq!(Files::decode(&[good.clone(), vec![9; 50]].concat()), Some(files()), "what lay behind it");
        for cut in 0..good.len() {
            assert_eq!(Files::decode(&good[..cut]), None, "{cut}");
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            assert_eq!(Files::decode(&bad), None, "{at}");
        }
        assert!(Files(vec![(String::new(), "x".repeat(1 << 20))]).encode().is_err(), "more than there is room for");
    }

    #[test]
    fn a_note_lies_at_the_end_of_a_partition_and_goes_without_a_trace() {
        let dir = tempfile::tempdir().unwrap();
        let partition = dir.path().join("partition");
        std::fs::write(&partition, vec![7; 3 << 20]).unwrap();
        assert_eq!(read(&partition), None);
        write(&partition, &files()).unwrap();
        assert_eq!(read(&partition), Some(files()));
        erase(&partition).unwrap();
        let bytes = std::fs::read(&partition).unwrap();
        assert!(bytes[..2 << 20].iter().all(|byte| *byte == 7) && bytes[2 << 20..].iter().all(|byte| *byte == 0));
        // ext4 with a block more than leaves room: s_blocks_count, s_log_block_size, s_magic.
        let mut plain = vec![0; 3 << 20];
        plain[1024 + 4..1024 + 8].copy_from_slice(&513u32.to_le_bytes());
        plain[1024 + 0x18..1024 + 0x1c].copy_from_slice(&2u32.to_le_bytes());
        plain[1024 + 0x38..1024 + 0x3a].copy_from_slice(&[0x53, 0xef]);
        std::fs::write(&partition, &plain).unwrap();
        assert!(write(&partition, &files()).is_err_and(|reason| reason.contains("no room")));
        plain[1024 + 4..1024 + 8].copy_from_slice(&512u32.to_le_bytes());
        std::fs::write(&partition, &plain).unwrap();
        write(&partition, &files()).unwrap();
    }
}

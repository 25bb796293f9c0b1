//! Evidence of the last crash: what the kernel left in pstore is put on the data disk, and its room given back.

use crate::console::Journal;
use crate::mounts::make_dir;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

const LEFT: &str = "/sys/fs/pstore";
const KEPT: &str = "/var/lib/rk/crash";
/// Records taken at one boot.
const MOST: usize = 32;
/// Bytes of one record.
const MOST_BYTES: u64 = 1 << 20;
/// Boots whose evidence is kept.
const MOST_BOOTS: usize = 8;

/// Moves the records. After `/var` and the pstore file system are mounted.
pub fn collect(journal: &mut Journal) {
    let Ok(entries) = fs::read_dir(LEFT) else { return };
    let mut records: Vec<_> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).take(MOST).collect();
    if records.is_empty() {
        return;
    }
    records.sort();
    make_dir(journal, KEPT, 0o700);
    let folder = Path::new(KEPT).join(next_name(KEPT));
    make_dir(journal, &folder.display().to_string(), 0o700);
    let mut moved = 0;
    for record in &records {
        let Some(name) = record.file_name() else { continue };
        match copy(record, &folder.join(name)) {
            Ok(()) => {
                moved += 1;
                // Erasing makes room for the next crash.
                let _ = fs::remove_file(record);
            }
            Err(err) => journal.failed("keeping a crash record", &err),
        }
    }
    journal.say(format_args!("the last run left {moved} crash records, kept in {}", folder.display()));
    forget_old(Path::new(KEPT));
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut bytes = Vec::new();
    File::open(from)?.take(MOST_BYTES).read_to_end(&mut bytes)?;
    let mut file = File::create(to)?;
    file.write_all(&without_config(&bytes))?;
    file.sync_all()
}

/// A record as it is, but for a config on the command line, which the kernel tells: whoever may look reads records.
fn without_config(record: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(record);
    let hidden = rk_config::hidden_in_cmdline(&text);
    if hidden == text { record.to_vec() } else { hidden.into_bytes() }
}

fn numbers(dir: &Path) -> Vec<u64> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut numbers: Vec<u64> =
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    numbers.sort_unstable();
    numbers
}

/// Counted, not dated: after a crash the clock may be anything.
fn next_name(dir: impl AsRef<Path>) -> String {
    format!("{:06}", numbers(dir.as_ref()).last().map_or(1, |last| last + 1))
}

fn forget_old(dir: &Path) {
    let numbers = numbers(dir);
    let old = numbers.len().saturating_sub(MOST_BOOTS);
    for number in numbers.into_iter().take(old) {
        let _ = fs::remove_dir_all(dir.join(format!("{number:06}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_kept_as_it_is_but_for_a_config_on_the_command_line() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let kept = |record: &[u8]| {
            fs::write(&from, record).unwrap();
            copy(&from, &to).unwrap();
            fs::read(&to).unwrap()
        };
        let said = b"<5>Command line: quiet rk.config=base64:cm9sZQ== panic=10\n<0>Kernel panic";
        assert_eq!(kept(said), b"<5>Command line: quiet rk.config=<secret> panic=10\n<0>Kernel panic");
        assert_eq!(kept(b"\xff\0<0>Kernel panic"), b"\xff\0<0>Kernel panic");
    }

    #[test]
    fn evidence_is_counted_and_the_oldest_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..MOST_BOOTS + 3 {
            let name = next_name(&dir);
            fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        forget_old(dir.path());
        assert_eq!(numbers(dir.path()), (4..=11).collect::<Vec<_>>());
    }
}

//! The file that events are written to, and those that it was before: bounded in size, number and age.
//!
//! A file that is full becomes `<path>.<n>`, with `n` above that of all others, by one rename: a crash at any point loses no file and
//! leaves at most one too many, which the next start removes. No clock decides what is the oldest.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Bytes that are gathered before they are written.
const BATCH: usize = 64 * 1024;

/// Where the log is, and how much of it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// The file that is written to.
    pub path: PathBuf,
    /// Size, in bytes, beyond which no file grows, one event that is longer by itself aside.
    pub max_bytes: u64,
    /// How many older files are kept; 0 for all.
    pub max_backups: usize,
    /// How long older files are kept; `None` for ever.
    pub max_age: Option<Duration>,
}

/// So many events were lost, and why.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) events: u64,
    pub(super) error: io::Error,
}

/// The open log.
#[derive(Debug)]
pub(super) struct Log {
    config: LogConfig,
    /// With its size, including what is not written yet. `None` after a failure: the next write opens it again.
    file: Option<(File, u64)>,
    waiting: Vec<u8>,
    events: u64,
}

impl Log {
    /// Opens the file, and removes older ones that are too many.
    ///
    /// # Errors
    /// The file cannot be made or read.
    pub(super) fn open(config: LogConfig) -> io::Result<Self> {
        if let Some(dir) = config.path.parent() {
            fs::create_dir_all(dir)?;
        }
        let file = Some(open(&config.path)?);
        let log = Self { config, file, waiting: Vec::with_capacity(BATCH), events: 0 };
        log.prune();
        Ok(log)
    }

    /// Adds a line, which has its end with it; it is in the file after the next [`Log::flush`] at the latest.
    ///
    /// # Errors
    /// The file cannot be written: what waited, and this line, are lost.
    pub(super) fn append(&mut self, line: &[u8]) -> Result<(), Lost> {
        let lost = |error| Lost { events: 1, error };
        if self.file.is_none() {
            self.file = Some(open(&self.config.path).map_err(lost)?);
        }
        let size = self.file.as_ref().map_or(0, |(_, size)| *size);
        if size > 0 && size.saturating_add(line.len() as u64) > self.config.max_bytes {
            self.flush().map_err(|lost| Lost { events: lost.events + 1, ..lost })?;
            self.rotate().map_err(lost)?;
        }
        self.waiting.extend_from_slice(line);
        self.events += 1;
        if let Some((_, size)) = &mut self.file {
            *size += line.len() as u64;
        }
        if self.waiting.len() >= BATCH { self.flush().map(|_| ()) } else { Ok(()) }
    }

    /// Writes what waits; tells whether anything did.
    ///
    /// # Errors
    /// The file cannot be written: what waited is lost.
    pub(super) fn flush(&mut self) -> Result<bool, Lost> {
        if self.waiting.is_empty() {
            return Ok(false);
        }
        let events = std::mem::take(&mut self.events);
        let written = match &mut self.file {
            Some((file, _)) => file.write_all(&self.waiting),
            None => Ok(()),
        };
        self.waiting.clear();
        written.map(|()| true).map_err(|error| {
            // It may end within a line now, and its size is not known: see `open`.
            self.file = None;
            Lost { events, error }
        })
    }

    /// Puts the file aside and begins a new one. Until that works nothing more is written, so that the bound holds.
    fn rotate(&mut self) -> io::Result<()> {
        let next = self.backups().last().map_or(1, |last| last.saturating_add(1));
        match fs::rename(&self.config.path, self.backup(next)) {
            // Somebody removed it: there is nothing to put aside.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.file = None;
        self.prune();
        self.file = Some(open(&self.config.path)?);
        Ok(())
    }

    fn backup(&self, number: u64) -> PathBuf {
        let mut name = self.config.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }

    /// The numbers of the older files, from the oldest on.
    fn backups(&self) -> Vec<u64> {
        let (Some(dir), Some(own)) = (self.config.path.parent(), self.config.path.file_name()) else {
            return Vec::new();
        };
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        let own = own.to_string_lossy();
        let number = |entry: fs::DirEntry| {
            let name = entry.file_name().into_string().ok()?;
            name.strip_prefix(&*own)?.strip_prefix('.')?.parse::<u64>().ok()
        };
        let mut numbers: Vec<u64> = fs::read_dir(dir).into_iter().flatten().flatten().filter_map(number).collect();
        numbers.sort_unstable();
        numbers
    }

    /// Removes older files that are too many or too old. One that cannot be removed is tried again when the next is put aside.
    fn prune(&self) {
        let numbers = self.backups();
        let many = match self.config.max_backups {
            0 => 0,
            most => numbers.len().saturating_sub(most),
        };
        for (index, number) in numbers.into_iter().enumerate() {
            let path = self.backup(number);
            if (index < many || self.is_old(&path))
                && let Err(error) = fs::remove_file(&path)
            {
                tracing::warn!(path = %path.display(), %error, "an old audit log cannot be removed");
            }
        }
    }

    fn is_old(&self, path: &Path) -> bool {
        let Some(most) = self.config.max_age else { return false };
        let written = fs::metadata(path).and_then(|about| about.modified()).ok();
        written.and_then(|time| time.elapsed().ok()).is_some_and(|age| age > most)
    }
}

/// Opens the file to append to it, with its size. A line that a crash left unfinished is ended: no event is mixed with another.
fn open(path: &Path) -> io::Result<(File, u64)> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    let size = file.metadata()?.len();
    if size == 0 || file.seek(SeekFrom::End(-1)).is_err() {
        return Ok((file, size));
    }
    let mut last = [0];
    file.read_exact(&mut last)?;
    if last == *b"\n" {
        return Ok((file, size));
    }
    file.write_all(b"\n")?;
    Ok((file, size + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn config(dir: &Path, max_bytes: u64, max_backups: usize) -> LogConfig {
        LogConfig { path: dir.join("audit.log"), max_bytes, max_backups, max_age: None }
    }

    fn files(dir: &Path) -> BTreeMap<String, String> {
        let entries = fs::read_dir(dir).unwrap().flatten();
        let read =
            |entry: fs::DirEntry| (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap());
        entries.map(read).collect()
    }

    #[test]
    fn a_full_file_is_put_aside_and_the_oldest_go() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::open(config(dir.path(), 10, 2)).unwrap();
        for line in ["one\n", "two\n", "three\n", "a line of its own\n", "four\n", "five\n", "six\n"] {
            log.append(line.as_bytes()).unwrap();
        }
        log.flush().unwrap();
        let wanted = [("audit.log", "six\n"), ("audit.log.3", "a line of its own\n"), ("audit.log.4", "four\nfive\n")];
        let found = files(dir.path());
        let found: Vec<(&str, &str)> = found.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        assert_eq!(found, wanted);
    }

    #[test]
    fn a_log_is_taken_up_where_a_crash_left_it() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("audit.log"), "whole\nhal").unwrap();
        for (name, text) in [("audit.log.7", "g"), ("audit.log.8", "h"), ("audit.log.10", "j"), ("audit.log.old", "k")]
        {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let mut log = Log::open(config(dir.path(), 16, 2)).unwrap();
        log.append(b"next\n").unwrap();
        log.append(b"more\n").unwrap();
        log.flush().unwrap();
        let found = files(dir.path());
        let names: Vec<&str> = found.keys().map(String::as_str).collect();
        assert_eq!(names, ["audit.log", "audit.log.10", "audit.log.11", "audit.log.old"]);
        assert_eq!((found["audit.log.11"].as_str(), found["audit.log"].as_str()), ("whole\nhal\nnext\n", "more\n"));
    }

    #[test]
    fn old_files_go_by_age_and_all_stay_without_a_bound() {
        let dir = tempfile::tempdir().unwrap();
        for number in 1..=3 {
            let file = File::create(dir.path().join(format!("audit.log.{number}"))).unwrap();
            file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        }
        let all = config(dir.path(), 100, 0);
        Log::open(all.clone()).unwrap();
        assert_eq!(files(dir.path()).len(), 4);
        Log::open(LogConfig { max_age: Some(Duration::from_secs(86_400)), ..all }).unwrap();
        assert_eq!(files(dir.path()).len(), 1);
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_the_log_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("logs");
        let mut log = Log::open(config(&below, 8, 2)).unwrap();
        log.append(b"one\n").unwrap();
        log.flush().unwrap();
        fs::remove_dir_all(&below).unwrap();
        let lost = log.append(b"three\n").unwrap_err();
        assert_eq!((lost.events, lost.error.kind()), (1, io::ErrorKind::NotFound));
        fs::create_dir(&below).unwrap();
        log.append(b"four\n").unwrap();
        log.flush().unwrap();
        assert_eq!(files(&below)["audit.log"], "four\n");
    }
}

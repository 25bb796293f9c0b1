//! The serial console of a machine: QEMU appends it to a file, and matchers read that file.

use crate::{Error, Result};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Most bytes of a console that a matcher reads: a runaway log must not fill memory.
const MAX_READ: u64 = 4 << 20;
/// Lines told when a wait fails.
const TAIL_LINES: usize = 40;

/// A console log on disk.
#[derive(Debug, Clone)]
pub struct Console {
    name: String,
    path: PathBuf,
}

impl Console {
    /// The console of machine `name`, logged to `path`.
    pub fn new(name: &str, path: &Path) -> Console {
        Console { name: name.to_owned(), path: path.to_owned() }
    }

    /// Where it is logged.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes logged so far: a mark to wait from.
    pub fn mark(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |m| m.len())
    }

    /// Everything so far (the last 4 MiB of it).
    pub fn text(&self) -> String {
        self.text_since(0)
    }

    /// What was logged after `mark`.
    pub fn text_since(&self, mark: u64) -> String {
        let mut bytes = Vec::new();
        if let Ok(mut file) = std::fs::File::open(&self.path) {
            let start = mark.max(self.mark().saturating_sub(MAX_READ));
            if file.seek(SeekFrom::Start(start)).is_ok() {
                let _ = file.take(MAX_READ).read_to_end(&mut bytes);
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The last lines, for error messages.
    pub fn tail(&self) -> String {
        tail(&self.text(), TAIL_LINES)
    }

    /// Waits until a line contains `text`, and answers that line.
    pub fn wait_for(&self, text: &str, limit: Duration) -> Result<String> {
        self.wait_from(0, text, limit, || true)
    }

    /// Waits until a line logged after `mark` contains `text`; gives up early once `alive` says false.
    pub fn wait_from(&self, mark: u64, text: &str, limit: Duration, mut alive: impl FnMut() -> bool) -> Result<String> {
        let start = Instant::now();
        loop {
            let living = alive();
            if let Some(line) = find_line(&self.text_since(mark), text) {
                return Ok(line);
            }
            if !living {
                return Err(Error::MachineEnded { name: self.name.clone(), tail: self.tail() });
            }
            if start.elapsed() >= limit {
                let what = format!("{text:?} on the console of {}", self.name);
                return Err(Error::Timeout { what, waited: limit, seen: self.tail() });
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The first line of `log` that contains `text`, without its line end.
fn find_line(log: &str, text: &str) -> Option<String> {
    log.lines().find(|line| line.contains(text)).map(|line| line.trim_end_matches('\r').to_owned())
}

/// The last `lines` lines of `log`.
pub fn tail(log: &str, lines: usize) -> String {
    let all: Vec<&str> = log.lines().collect();
    all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn console(text: &str) -> (tempfile::TempDir, Console) {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("console.log");
        std::fs::write(&path, text).expect("write");
        (dir, Console::new("n", &path))
    }

    #[test]
    fn a_matching_line_is_answered_whole() {
        let (_dir, console) = console("one\r\nrk: ready now\r\nthree\r\n");
        assert_eq!(console.wait_for("ready", Duration::ZERO).ok().as_deref(), Some("rk: ready now"));
    }

    #[test]
    fn only_what_came_after_the_mark_counts() {
        let (_dir, console) = console("ready\n");
        let error = console.wait_from(console.mark(), "ready", Duration::ZERO, || true);
        assert!(matches!(error, Err(Error::Timeout { ref seen, .. }) if seen == "ready"), "{error:?}");
    }

    #[test]
    fn a_machine_that_ended_is_told_at_once() {
        let (_dir, console) = console("panic\n");
        let error = console.wait_from(0, "ready", Duration::from_secs(60), || false);
        assert!(matches!(error, Err(Error::MachineEnded { .. })), "{error:?}");
    }
}

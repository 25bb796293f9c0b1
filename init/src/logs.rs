//! What services print: read from their pipes into bounded files, the important lines also to the console.

use crate::console;
use crate::rate::RateLimit;
use rk_supervise::Millis;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// A log file is renamed to `.1` beyond this, so that a service keeps at most twice as much.
const MOST_BYTES: u64 = 4 << 20;
/// A longer line is cut in two: a service that never ends its line must not fill PID 1's memory.
const MOST_LINE: usize = 8 << 10;
/// Bytes read from one service in one turn, so that no service starves the others.
const MOST_PER_TURN: usize = 64 << 10;
const CONSOLE_BURST: u64 = 200;
const CONSOLE_PER_SECOND: u64 = 20;

/// A file that never grows beyond a bound.
#[derive(Debug)]
pub struct RotatingFile {
    path: PathBuf,
    open: Option<(File, u64)>,
}

impl RotatingFile {
    /// A file that is opened at the first write.
    pub fn new(path: PathBuf) -> RotatingFile {
        RotatingFile { path, open: None }
    }

    /// Appends; what cannot be written (a full or broken disk) is lost, for the services must go on.
    pub fn write(&mut self, bytes: &[u8]) {
        let (mut file, size) = match self.open.take() {
            Some(open) => open,
            None => match OpenOptions::new().append(true).create(true).open(&self.path) {
                Ok(file) => {
                    let size = file.metadata().map_or(0, |meta| meta.len());
                    (file, size)
                }
                Err(_) => return,
            },
        };
        let size = size + bytes.len() as u64;
        if file.write_all(bytes).is_err() {
            return;
        }
        if size < MOST_BYTES {
            self.open = Some((file, size));
        } else {
            let mut old = self.path.clone().into_os_string();
            old.push(".1");
            let _ = fs::rename(&self.path, old);
        }
    }
}

/// The output of one service. Its pipe lives as long as PID 1, so that restarts and left-over children lose nothing.
#[derive(Debug)]
pub struct ServiceLog {
    name: &'static str,
    reader: File,
    writer: OwnedFd,
    file: RotatingFile,
    line: Vec<u8>,
    limit: RateLimit,
    everything: bool,
}

impl ServiceLog {
    /// Makes the pipe; with `everything`, every line goes to the console.
    ///
    /// # Errors
    /// No descriptors are left.
    pub fn open(name: &'static str, dir: &Path, everything: bool) -> rk_sys::Result<ServiceLog> {
        let (reader, writer) = rk_sys::log_pipe()?;
        let file = RotatingFile::new(dir.join(format!("{name}.log")));
        let limit = RateLimit::new(CONSOLE_BURST, CONSOLE_PER_SECOND);
        Ok(ServiceLog { name, reader, writer, file, line: Vec::new(), limit, everything })
    }

    /// The end that a service writes to.
    pub fn writer(&self) -> &OwnedFd {
        &self.writer
    }

    /// The service.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Takes what is there, up to a bound.
    pub fn drain(&mut self, now: Millis) {
        let mut buffer = [0; 4096];
        let mut taken = 0;
        while taken < MOST_PER_TURN {
            match self.reader.read(&mut buffer) {
                Ok(size) if size > 0 => {
                    let bytes = buffer.get(..size).unwrap_or_default();
                    self.file.write(bytes);
                    self.show(now, bytes);
                    taken += size;
                }
                _ => break,
            }
        }
    }

    fn show(&mut self, now: Millis, bytes: &[u8]) {
        for &byte in bytes {
            if byte != b'\n' {
                self.line.push(byte);
            }
            if byte == b'\n' || self.line.len() >= MOST_LINE {
                let line = std::mem::take(&mut self.line);
                let text = String::from_utf8_lossy(&line);
                if self.everything || is_important(&text) {
                    self.tell(now, &text);
                }
            }
        }
    }

    fn tell(&mut self, now: Millis, text: &str) {
        let Some(dropped) = self.limit.take(now) else { return };
        if dropped > 0 {
            console::line(&format!("rk: {} said {dropped} more lines, see /var/log/rk/{}.log", self.name, self.name));
        }
        match text.strip_prefix("rk: ") {
            Some(news) => console::line(&format!("rk: {news}")),
            None => console::line(&format!("{}: {}", self.name, printable(text))),
        }
    }
}

impl AsFd for ServiceLog {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

/// Warnings, errors, panics, and what services address to the console with the prefix `rk: `.
fn is_important(line: &str) -> bool {
    const MARKS: [&str; 4] = [" WARN ", " ERROR ", "panicked at", "memory allocation of"];
    line.starts_with("rk: ") || MARKS.iter().any(|mark| line.contains(mark)) || line.starts_with("Error: ")
}

/// Escape sequences of a service must not steer the operator's terminal.
fn printable(line: &str) -> String {
    line.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_file_is_rotated_and_never_exceeds_its_bound() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = RotatingFile::new(dir.path().join("x.log"));
        let block = vec![b'x'; 1 << 20];
        for _ in 0..11 {
            file.write(&block);
        }
        assert_eq!(fs::metadata(dir.path().join("x.log")).unwrap().len(), 3 << 20);
        assert_eq!(fs::metadata(dir.path().join("x.log.1")).unwrap().len(), 4 << 20);
    }

    #[test]
    fn what_a_service_prints_is_kept_and_only_whole_lines_are_judged() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = ServiceLog::open("node", dir.path(), false).unwrap();
        let mut writer = File::from(log.writer().try_clone().unwrap());
        writer.write_all(b"one WA").unwrap();
        log.drain(0);
        assert_eq!(log.line, b"one WA");
        writer.write_all(b"RN \ntwo\n").unwrap();
        log.drain(0);
        assert!(log.line.is_empty());
        assert_eq!(fs::read(dir.path().join("node.log")).unwrap(), b"one WARN \ntwo\n");
    }

    #[test]
    fn an_endless_line_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = ServiceLog::open("node", dir.path(), false).unwrap();
        log.show(0, &vec![b'a'; 3 * MOST_LINE + 5]);
        assert_eq!(log.line.len(), 5);
    }

    #[test]
    fn important_lines_are_told_from_chatter() {
        for line in ["rk: eth0 has 10.0.2.15/24", "2026-01-01T00:00:00Z  WARN x: y", "thread 'main' panicked at a.rs:1"]
        {
            assert!(is_important(line), "{line}");
        }
        for line in ["2026-01-01T00:00:00Z  INFO x: y", "", "WARNING-less"] {
            assert!(!is_important(line), "{line}");
        }
        assert_eq!(printable("a\x1b[2Jb"), "a\u{fffd}[2Jb");
    }
}

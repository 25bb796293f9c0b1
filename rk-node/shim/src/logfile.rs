//! Container output as the CRI's log files: `<RFC 3339 time> <stream> <P|F> <line>`.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, mkdirat, openat};
use rustix::io::Errno;

use crate::clock;

/// Lines longer than this are cut into parts tagged `P`, the last one `F`; the size that other runtimes use.
pub const MAX_LINE: usize = 16 * 1024;

/// A directory itself, to begin paths at.
const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The log of one container.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: File,
    /// The last entry is not whole: the disk was full.
    torn: bool,
}

impl LogFile {
    /// Opens the file at an absolute path for appending; makes its directory. Anything but a regular file is refused without a wait
    /// for it: a pod that can write where logs are may have put a link to any file, or a pipe that nobody reads, in its place.
    pub fn open(path: &Path) -> io::Result<Self> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(refused(path, "names no file"));
        };
        let append = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE;
        let guarded = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = File::from(openat(directory(parent)?, name, append | guarded, Mode::from_raw_mode(0o640))?);
        if !file.metadata()?.is_file() {
            return Err(refused(path, "is no regular file"));
        }
        Ok(Self { path: path.to_owned(), file, torn: false })
    }

    /// Switches to a new file at the same path, after the old one was renamed; goes on with the old one where that is refused.
    pub fn reopen(&mut self) -> io::Result<()> {
        *self = Self::open(&self.path)?;
        Ok(())
    }

    /// Appends whole entries. A full disk loses them rather than stopping the container; what it tears is not what the next one begins with.
    pub fn append(&mut self, entries: &[u8]) {
        if !entries.is_empty() {
            self.torn = append(&mut self.file, self.torn, entries);
        }
    }
}

/// Writes entries behind those before, the last of which may be torn. Whether the last one is torn then.
fn append(out: &mut impl Write, torn: bool, entries: &[u8]) -> bool {
    if torn && out.write_all(b"\n").is_err() {
        return true;
    }
    let mut written = 0;
    while let Some(rest) = entries.get(written..).filter(|rest| !rest.is_empty()) {
        match out.write(rest) {
            Ok(more) if more > 0 => written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            _ => break,
        }
    }
    entries.get(..written).and_then(<[u8]>::last).is_some_and(|last| *last != b'\n')
}

fn refused(path: &Path, why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("{} {why}", path.display()))
}

/// Opens a directory by its absolute path, no part of which may be a link, and makes those parts that are not there.
fn directory(path: &Path) -> io::Result<OwnedFd> {
    let mut dir = rustix::fs::open("/", DIRECTORY, Mode::empty())?;
    for part in path.components() {
        match part {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => dir = enter(&dir, name)?,
            Component::ParentDir | Component::Prefix(_) => return Err(refused(path, "leads out of its directory")),
        }
    }
    Ok(dir)
}

fn enter(dir: &OwnedFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    match openat(dir, name, DIRECTORY, Mode::empty()) {
        Err(Errno::NOENT) => {}
        other => return other,
    }
    match mkdirat(dir, name, Mode::from_raw_mode(0o755)) {
        // Somebody else was faster.
        Ok(()) | Err(Errno::EXIST) => openat(dir, name, DIRECTORY, Mode::empty()),
        Err(error) => Err(error),
    }
}

/// Cuts one stream into entries; keeps an unfinished line of at most [`MAX_LINE`] bytes.
#[derive(Debug)]
pub struct LineCutter {
    stream: &'static str,
    pending: Vec<u8>,
}

impl LineCutter {
    /// For `stdout` or `stderr`.
    pub fn new(stream: &'static str) -> Self {
        Self { stream, pending: Vec::new() }
    }

    /// The stream that it was made for.
    pub fn stream(&self) -> &'static str {
        self.stream
    }

    /// The entries that `bytes`, read at `now` (ns), complete.
    pub fn feed(&mut self, bytes: &[u8], now: i64) -> Vec<u8> {
        let time = clock::rfc3339(now);
        let mut out = Vec::with_capacity(bytes.len() + 64);
        let mut rest = bytes;
        while !rest.is_empty() {
            let newline = rest.iter().position(|b| *b == b'\n');
            let take = newline.unwrap_or(rest.len()).min(MAX_LINE - self.pending.len());
            let (part, after) = rest.split_at(take);
            self.pending.extend_from_slice(part);
            rest = after;
            if newline == Some(take) {
                rest = rest.get(1..).unwrap_or_default();
                self.flush(&time, 'F', &mut out);
            } else if self.pending.len() == MAX_LINE {
                self.flush(&time, 'P', &mut out);
            }
        }
        if self.pending.is_empty() {
            // One chatty moment must not keep 16 KiB per stream for the rest of the pod's life.
            self.pending = Vec::new();
        }
        out
    }

    /// The last line, if the stream ended without a newline: a part, so that readers of the log add no newline either.
    pub fn finish(&mut self, now: i64) -> Vec<u8> {
        let mut out = Vec::new();
        if !self.pending.is_empty() {
            self.flush(&clock::rfc3339(now), 'P', &mut out);
        }
        out
    }

    fn flush(&mut self, time: &str, tag: char, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("{time} {} {tag} ", self.stream).as_bytes());
        out.append(&mut self.pending);
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: &str = "1970-01-01T00:00:00.000000000Z";

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn lines_are_tagged_and_unfinished_ones_wait() {
        let mut cutter = LineCutter::new("stdout");
        assert_eq!(text(cutter.feed(b"a\n\nb", 0)), format!("{T} stdout F a\n{T} stdout F \n"));
        assert_eq!(text(cutter.feed(b"c\n", 0)), format!("{T} stdout F bc\n"));
        assert_eq!(text(cutter.feed(b"tail", 0)), "");
        assert_eq!(text(cutter.finish(0)), format!("{T} stdout P tail\n"));
        assert_eq!(text(cutter.finish(0)), "");
    }

    #[test]
    fn a_long_line_is_cut_into_parts_and_ends_with_a_full_one() {
        let mut cutter = LineCutter::new("stderr");
        let mut line = vec![b'x'; MAX_LINE + 5];
        line.push(b'\n');
        let out = text(cutter.feed(&line, 0));
        let lines: Vec<_> = out.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with(&format!("{T} stderr P x")) && lines[0].len() == T.len() + 10 + MAX_LINE);
        assert_eq!(lines[1], format!("{T} stderr F xxxxx"));
    }

    #[test]
    fn a_line_of_exactly_the_limit_is_not_followed_by_a_lost_byte() {
        let mut cutter = LineCutter::new("stdout");
        let mut line = vec![b'y'; MAX_LINE];
        line.extend(b"\nz\n");
        let out = text(cutter.feed(&line, 0));
        assert!(out.ends_with(&format!("{T} stdout F z\n")), "{}", &out[out.len() - 80..]);
        assert_eq!(out.matches('y').count(), MAX_LINE);
    }

    #[test]
    fn an_entry_that_a_full_disk_tore_is_not_what_the_next_one_begins_with() {
        /// What a disk holds, and what it has room for.
        struct Disk(Vec<u8>, usize);
        impl Write for Disk {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let taken = bytes.len().min(self.1 - self.0.len());
                self.0.extend_from_slice(&bytes[..taken]);
                if taken > 0 { Ok(taken) } else { Err(io::ErrorKind::StorageFull.into()) }
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut disk = Disk(Vec::new(), 7);
        let mut torn = append(&mut disk, false, b"one\n");
        for (room, entries, held) in [
            (7, "two\n", "one\ntwo"),
            (7, "lost\n", "one\ntwo"),
            (8, "lost\n", "one\ntwo\n"),
            (12, "four\nlost\n", "one\ntwo\nfour"),
            (99, "six\n", "one\ntwo\nfour\nsix\n"),
            (99, "seven\n", "one\ntwo\nfour\nsix\nseven\n"),
        ] {
            disk.1 = room;
            torn = append(&mut disk, torn, entries.as_bytes());
            assert_eq!(text(disk.0.clone()), held, "{room}: {entries:?}");
        }
    }

    #[test]
    fn a_renamed_log_is_followed_by_a_new_file_after_reopen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c/0.log");
        let mut log = LogFile::open(&path).unwrap();
        log.append(b"one\n");
        std::fs::rename(&path, dir.path().join("c/0.log.1")).unwrap();
        log.append(b"two\n");
        log.reopen().unwrap();
        log.append(b"three\n");
        assert_eq!(std::fs::read(&path).unwrap(), b"three\n");
        assert_eq!(std::fs::read(dir.path().join("c/0.log.1")).unwrap(), b"one\ntwo\n");
    }

    #[test]
    fn what_is_no_file_in_the_place_of_a_log_is_refused_and_the_old_one_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let secret = dir.path().join("secret");
        std::fs::write(&secret, "own\n").unwrap();
        let place = dir.path().join("c");
        let path = place.join("0.log");
        let mut log = LogFile::open(&path).unwrap();
        std::fs::rename(&path, place.join("0.log.1")).unwrap();
        let link = |to: &Path| std::os::unix::fs::symlink(to, &path).unwrap();
        let put: [(&str, &dyn Fn()); 4] = [
            ("a link to a file", &|| link(&secret)),
            ("a link to nothing", &|| link(&dir.path().join("made"))),
            ("a pipe that nobody reads", &|| {
                nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
            }),
            ("a directory", &|| std::fs::create_dir(&path).unwrap()),
        ];
        for (what, put) in put {
            put();
            assert!(log.reopen().is_err() && LogFile::open(&path).is_err(), "{what}");
            log.append(b"on\n");
            std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir(&path)).unwrap();
        }
        assert_eq!(std::fs::read(&secret).unwrap(), b"own\n");
        assert!(!dir.path().join("made").exists());
        assert_eq!(std::fs::read(place.join("0.log.1")).unwrap(), b"on\non\non\non\n");
        log.reopen().unwrap();
        log.append(b"new\n");
        assert_eq!(std::fs::read(&path).unwrap(), b"new\n");
    }

    #[test]
    fn no_directory_on_the_way_to_a_log_may_be_a_link() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), dir.path().join("pod")).unwrap();
        for path in ["pod/0.log", "pod/c/0.log", "../0.log", "elsewhere/../0.log"] {
            assert!(LogFile::open(&dir.path().join(path)).is_err(), "{path}");
        }
        assert_eq!(std::fs::read_dir(dir.path().join("elsewhere")).unwrap().count(), 0);
        LogFile::open(&dir.path().join("new/c/0.log")).unwrap();
    }
}

//! Where lines come from: the files that PID 1 writes for services, and the kernel's buffer. Both are bounded where they lie, so
//! that nothing has to be kept in memory for a receiver that is away.

use crate::streams::{kmsg, last_lines};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Lines of each log that are sent of what was there before.
const BEFORE: u32 = 200;
const MOST_BEFORE: u64 = 64 << 10;
/// Files looked at; services are a handful.
const MOST_FILES: usize = 32;
/// A longer line is cut; PID 1 cuts them at this length too.
const MOST_LINE: usize = 8 << 10;

/// A file that is read as it grows, across its being renamed.
#[derive(Debug)]
struct Followed {
    name: String,
    path: PathBuf,
    file: File,
    rest: Vec<u8>,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Sources {
    folder: PathBuf,
    files: Vec<Followed>,
    kernel: Option<File>,
}

impl Sources {
    /// The logs of this folder, and the kernel's.
    pub fn new(folder: &Path) -> Sources {
        Sources { folder: folder.to_owned(), files: Vec::new(), kernel: kmsg::open().ok() }
    }

    /// The logs of this folder alone.
    #[cfg(test)]
    pub fn only(folder: &Path) -> Sources {
        Sources { folder: folder.to_owned(), ..Sources::default() }
    }

    /// Lines that came since, with the service that they are of, until `most` bytes are full; what is left over comes next time.
    pub fn read(&mut self, most: usize) -> Vec<(String, String)> {
        self.look_for_files();
        let (mut lines, mut size) = (Vec::new(), 0);
        let mut take = |service: &str, line: String| {
            size += line.len() + 64;
            lines.push((service.to_owned(), line));
            size < most
        };
        for file in &mut self.files {
            if !file.lines(&mut take) {
                return lines;
            }
        }
        if let Some(kernel) = &mut self.kernel {
            while let Some(line) = kmsg::next(kernel) {
                if !kmsg::is_of_pid_1(&line) && !take("kernel", line.trim_end().to_owned()) {
                    break;
                }
            }
        }
        lines
    }

    fn look_for_files(&mut self) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        for entry in entries.flatten().take(MOST_FILES) {
            let path = entry.path();
            let name = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".log")).map(str::to_owned);
            let Some(name) = name.filter(|name| self.files.iter().all(|file| file.name != *name)) else { continue };
            if let Ok(file) = from_near_the_end(&path) {
                self.files.push(Followed { name, path, file, rest: Vec::new() });
            }
        }
    }
}

fn from_near_the_end(path: &Path) -> io::Result<File> {
    let mut file = File::open(path)?;
    let at = last_lines(&mut file, BEFORE, MOST_BEFORE)?;
    file.seek(SeekFrom::Start(at))?;
    Ok(file)
}

impl Followed {
    /// Hands out whole lines; answers whether there is room for more.
    fn lines(&mut self, take: &mut impl FnMut(&str, String) -> bool) -> bool {
        let mut buffer = [0; MOST_LINE];
        loop {
            while let Some(end) = self.line_end() {
                let line: Vec<u8> = self.rest.drain(..end).collect();
                let line = String::from_utf8_lossy(&line);
                let line = line.trim_end_matches('\n');
                if !line.is_empty() && !take(&self.name, line.to_owned()) {
                    return false;
                }
            }
            match self.file.read(&mut buffer) {
                Ok(0) => match self.successor() {
                    Some(file) => self.file = file,
                    None => return true,
                },
                Ok(size) => self.rest.extend_from_slice(buffer.get(..size).unwrap_or_default()),
                Err(_) => return true,
            }
        }
    }

    fn line_end(&self) -> Option<usize> {
        let end = self.rest.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
        end.or((self.rest.len() >= MOST_LINE).then_some(MOST_LINE))
    }

    /// The file that has this name now, when it is another one.
    fn successor(&self) -> Option<File> {
        let (old, new) = (self.file.metadata().ok()?, fs::metadata(&self.path).ok()?);
        if (old.dev(), old.ino()) == (new.dev(), new.ino()) { None } else { File::open(&self.path).ok() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;
    use std::io::Write;

    fn append(path: &Path, text: &str) {
        OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn texts(sources: &mut Sources, most: usize) -> Vec<String> {
        sources.read(most).into_iter().map(|(service, line)| format!("{service}: {line}")).collect()
    }

    #[test]
    fn lines_come_once_whole_and_across_files_that_replace_one_another() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.log");
        append(&path, "one\ntw");
        let mut sources = Sources::only(dir.path());
        assert_eq!(texts(&mut sources, 9999), ["node: one"]);
        append(&path, "o\n");
        fs::rename(&path, dir.path().join("node.log.1")).unwrap();
        append(&path, "three\n");
        append(&dir.path().join("netd.log"), "new\n");
        let mut seen = texts(&mut sources, 9999);
        seen.sort();
        assert_eq!(seen, ["netd: new", "node: three", "node: two"]);
        assert!(texts(&mut sources, 9999).is_empty());
    }

    #[test]
    fn what_does_not_fit_comes_next_time_and_endless_lines_are_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        append(&path, "1\n2\n3\n");
        append(&path, &"x".repeat(MOST_LINE + 5));
        let mut sources = Sources::only(dir.path());
        assert_eq!(texts(&mut sources, 100), ["a: 1", "a: 2"]);
        let rest = texts(&mut sources, 1 << 20);
        assert_eq!((rest.len(), rest[0].as_str(), rest[1].len()), (2, "a: 3", MOST_LINE + 3));
    }
}

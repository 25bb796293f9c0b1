//! News of files.

use crate::error::{Result, SysError};
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

/// Reads in one go, each of dozens of events; what is left then is read the next time.
const MOST_READS: usize = 16;

/// Tells when a file of one name in one folder is written, replaced or removed. Readable when anything in the folder was.
#[derive(Debug)]
pub struct FileWatch {
    inotify: Inotify,
    name: OsString,
}

impl FileWatch {
    /// Watches a file that need not be there, in a folder that must.
    ///
    /// # Errors
    /// As `inotify_init1(2)` and `inotify_add_watch(2)`.
    pub fn new(path: &Path) -> Result<FileWatch> {
        let failed = |errno: Errno| SysError::new("watch", path.display().to_string(), errno);
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Err(failed(Errno::EINVAL)) };
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).map_err(failed)?;
        let changes = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_DELETE;
        inotify.add_watch(folder, changes | AddWatchFlags::IN_ONLYDIR).map_err(failed)?;
        Ok(FileWatch { inotify, name: name.to_owned() })
    }

    /// Takes the news; answers whether the file is among them, or may be, for news got lost.
    ///
    /// # Errors
    /// As `read(2)`; that there are none is no error.
    pub fn changed(&self) -> Result<bool> {
        let mut changed = false;
        for _ in 0..MOST_READS {
            match self.inotify.read_events() {
                Ok(events) => {
                    changed |= events.iter().any(|event| event.name.as_deref().is_none_or(|name| self.concerns(name)));
                }
                Err(Errno::EAGAIN | Errno::EINTR) => break,
                Err(errno) => return Err(SysError::new("read news of", self.name.display().to_string(), errno)),
            }
        }
        Ok(changed)
    }

    fn concerns(&self, name: &OsStr) -> bool {
        name == self.name
    }
}

impl AsFd for FileWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::poll::wait_readable;
    use std::fs;
    use std::time::{Duration, Instant};

    /// Whether the file is told of within a minute: a program that another test starts right then has the
    /// written file open until it is replaced by its own, and the kernel tells of the last close.
    fn told(watch: &FileWatch) -> bool {
        let end = Instant::now() + Duration::from_secs(60);
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            if wait_readable(&[watch.as_fd()], Some(left)).unwrap().is(0) && watch.changed().unwrap() {
                return true;
            }
        }
        false
    }

    #[test]
    fn a_file_that_is_written_replaced_or_removed_is_told_and_its_neighbours_are_not() {
        let dir = std::env::temp_dir().join(format!("rk-watch-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("note");
        let watch = FileWatch::new(&path).unwrap();
        assert!(!watch.changed().unwrap());
        fs::write(dir.join("other"), "1").unwrap();
        assert!(!watch.changed().unwrap(), "a neighbour");
        fs::write(&path, "1").unwrap();
        assert!(told(&watch), "written");
        assert!(!watch.changed().unwrap(), "told once");
        fs::rename(dir.join("other"), &path).unwrap();
        assert!(told(&watch), "replaced");
        fs::remove_file(&path).unwrap();
        assert!(told(&watch), "removed");
        fs::remove_dir_all(&dir).unwrap();
        assert!(FileWatch::new(&path).is_err(), "there is no folder");
    }
}

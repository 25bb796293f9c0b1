//! Which files of the manifests' directory were taken away, even if the like of them is back before anyone looks.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

/// Reads in one go, each of dozens of events; what is left then is read the next time.
const MOST_READS: usize = 16;

/// Hears of removals in one directory, which need not be there.
pub struct Removals {
    /// Absent when the kernel has none to give: then only what is missing at a look is known to be gone.
    inotify: Option<Inotify>,
}

impl Removals {
    /// Hears of what goes from now on.
    pub fn new(dir: &Path) -> Self {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC);
        let inotify = inotify.inspect_err(|error| tracing::warn!("no news of removed manifests: {error}")).ok();
        let removals = Self { inotify };
        removals.follow(dir);
        removals
    }

    /// Watches the directory that has the name now; one that is watched already stays so.
    fn follow(&self, dir: &Path) {
        let Some(inotify) = &self.inotify else { return };
        let gone = AddWatchFlags::IN_DELETE | AddWatchFlags::IN_MOVED_FROM | AddWatchFlags::IN_ONLYDIR;
        match inotify.add_watch(dir, gone) {
            Ok(_) | Err(Errno::ENOENT) => {}
            Err(error) => tracing::debug!(dir = %dir.display(), "following a directory: {error}"),
        }
    }

    /// Names of the files that went since the last call.
    pub fn take(&self, dir: &Path) -> BTreeSet<OsString> {
        self.follow(dir);
        let mut names = BTreeSet::new();
        let Some(inotify) = &self.inotify else { return names };
        for _ in 0..MOST_READS {
            match inotify.read_events() {
                Ok(events) => names.extend(events.into_iter().filter_map(|event| event.name)),
                Err(Errno::EAGAIN | Errno::EINTR) => break,
                Err(error) => {
                    tracing::debug!(dir = %dir.display(), "reading of removals: {error}");
                    break;
                }
            }
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn files_that_went_are_named_once_though_they_are_back() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("manifests");
        let removals = Removals::new(&dir);
        assert!(removals.take(&dir).is_empty(), "the directory is not there yet");
        fs::create_dir(&dir).unwrap();
        assert!(removals.take(&dir).is_empty());
        for name in ["a", "b", "c"] {
            fs::write(dir.join(name), "").unwrap();
        }
        fs::remove_file(dir.join("a")).unwrap();
        fs::write(dir.join("a"), "").unwrap();
        fs::write(dir.join("b"), "changed").unwrap();
        // One that takes another's place takes nothing away but its own name.
        fs::rename(dir.join("c"), dir.join("b")).unwrap();
        assert_eq!(removals.take(&dir), BTreeSet::from(["a", "c"].map(OsString::from)));
        assert!(removals.take(&dir).is_empty());
    }
}

//! Groups of processes: cgroup v2, where every node has it.

use crate::error::{Result, SysError};
use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Where the hierarchy is mounted.
pub const CGROUP_ROOT: &str = "/sys/fs/cgroup";

/// The directory of a cgroup that is named from the hierarchy's root, as by the OCI spec's `cgroupsPath`.
pub fn cgroup_dir(path: &Path) -> PathBuf {
    Path::new(CGROUP_ROOT).join(path.strip_prefix("/").unwrap_or(path))
}

/// Kills all that runs in the cgroup at `dir` and below it, and what is forked meanwhile (`cgroup.kill`, Linux 5.14). It does not wait
/// for their end: for a moment they still keep the cgroup from being removed. One that is gone has nobody to kill.
///
/// # Errors
/// The kernel or the file's mode refuses it.
pub fn kill_cgroup(dir: &Path) -> Result<()> {
    // Never made: where no hierarchy is mounted it would be left as an ordinary file.
    let file = OpenOptions::new().write(true).open(dir.join("cgroup.kill"));
    match file.and_then(|mut file| file.write_all(b"1")) {
        Err(error) if !is_gone(&error) => Err(SysError::new("cgroup.kill", dir.display().to_string(), error)),
        _ => Ok(()),
    }
}

/// Whether the cgroup went before its file was opened, or between that and the write.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_runs_in_a_group_is_killed_and_nothing_is_made_where_none_is() {
        let dir = std::env::temp_dir().join(format!("rk-sys-cgroup-{}", std::process::id()));
        let file = dir.join("cgroup.kill");
        kill_cgroup(&dir).unwrap();
        fs::create_dir_all(&dir).unwrap();
        kill_cgroup(&dir).unwrap();
        assert!(!file.exists());
        fs::write(&file, "").unwrap();
        kill_cgroup(&dir).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "1");
        // What cannot be written to, whoever asks.
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        let refused = kill_cgroup(&dir).unwrap_err();
        assert_eq!(refused.errno(), Some(libc::EISDIR));
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_group_that_went_while_it_was_written_to_is_gone() {
        assert!(is_gone(&io::Error::from_raw_os_error(libc::ENODEV)));
        assert!(is_gone(&io::Error::from_raw_os_error(libc::ENOENT)));
        assert!(!is_gone(&io::Error::from_raw_os_error(libc::EOPNOTSUPP)));
    }

    #[test]
    fn groups_lie_below_the_mount_point_however_they_are_named() {
        for name in ["/kubepods/podx/c", "kubepods/podx/c"] {
            assert_eq!(cgroup_dir(Path::new(name)), Path::new("/sys/fs/cgroup/kubepods/podx/c"));
        }
    }
}

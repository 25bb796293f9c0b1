//! Resource limits.

use crate::error::{Result, SysError};
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};

/// Sets how many files a process may have open: what it starts with, and what it may raise that to.
pub fn limit_open_files(soft: u64, hard: u64) -> Result<()> {
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).map_err(|e| SysError::new("setrlimit", "RLIMIT_NOFILE", e))
}

/// Lifts the limit of processes per user.
pub fn lift_process_limit() -> Result<()> {
    setrlimit(Resource::RLIMIT_NPROC, RLIM_INFINITY, RLIM_INFINITY)
        .map_err(|e| SysError::new("setrlimit", "RLIMIT_NPROC", e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::resource::getrlimit;

    #[test]
    fn the_limit_of_open_files_is_set_and_a_soft_one_above_the_hard_one_is_refused() {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        limit_open_files(hard.min(512), hard).unwrap();
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (hard.min(512), hard));
        assert!(limit_open_files(2, 1).unwrap_err().to_string().contains("RLIMIT_NOFILE"));
    }
}

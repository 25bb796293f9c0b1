//! Swapping to a file.

use crate::error::{Result, SysError};
use std::ffi::CString;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

fn name(call: &'static str, file: &Path) -> Result<CString> {
    CString::new(file.as_os_str().as_bytes())
        .map_err(|_| SysError::new(call, file.display().to_string(), std::io::ErrorKind::InvalidInput))
}

/// Gives a file all its blocks, so that it has no holes.
///
/// # Errors
/// As `fallocate(2)`.
pub fn allocate(file: &File, bytes: u64) -> Result<()> {
    let object = "a file";
    let length =
        i64::try_from(bytes).map_err(|_| SysError::new("fallocate", object, std::io::ErrorKind::FileTooLarge))?;
    nix::fcntl::fallocate(file, nix::fcntl::FallocateFlags::empty(), 0, length)
        .map_err(|errno| SysError::new("fallocate", object, errno))
}

/// Lets the kernel swap to this file, which holds a swap header and no holes.
///
/// # Errors
/// As `swapon(2)`.
pub fn swap_on(file: &Path) -> Result<()> {
    let path = name("swapon", file)?;
    // SAFETY: swapon reads the string until its NUL and keeps no pointer to it.
    match unsafe { libc::swapon(path.as_ptr(), 0) } {
        0 => Ok(()),
        _ => Err(SysError::last("swapon", file.display().to_string())),
    }
}

/// Takes everything back from this file, which needs memory for what is in it.
///
/// # Errors
/// As `swapoff(2)`.
pub fn swap_off(file: &Path) -> Result<()> {
    let path = name("swapoff", file)?;
    // SAFETY: swapoff reads the string until its NUL and keeps no pointer to it.
    match unsafe { libc::swapoff(path.as_ptr()) } {
        0 => Ok(()),
        _ => Err(SysError::last("swapoff", file.display().to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = swap_on(Path::new("/nonexistent/swap")).unwrap_err().to_string();
        assert!(error.contains("swapon /nonexistent/swap"), "{error}");
        assert!(swap_off(Path::new("/nonexistent/swap")).is_err());
    }
}

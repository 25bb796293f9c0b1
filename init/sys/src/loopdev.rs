//! A file as a block device.

use crate::error::{Result, SysError};
use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::path::Path;

// linux/loop.h
const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4C82;
const LOOP_CONFIGURE: libc::Ioctl = 0x4C0A;
const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;

/// `struct loop_info64` and `struct loop_config`, laid out as in linux/loop.h.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    device_ids: [u64; 3],
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    names_and_key: [u8; 64 + 64 + 32],
    init: [u64; 2],
    reserved: [u64; 8],
}

/// Attaches `file` read-only to a free loop device and returns the device's path and a handle that keeps it attached until
/// it is mounted.
///
/// # Errors
/// No loop driver, or the file cannot back a device.
pub fn attach_loop(file: &Path) -> Result<(String, File)> {
    let name = file.display().to_string();
    let backing = File::open(file).map_err(|err| SysError::new("open", &name, err))?;
    let control = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/loop-control")
        .map_err(|err| SysError::new("open", "/dev/loop-control", err))?;
    // SAFETY: this ioctl takes no argument.
    let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) };
    if number < 0 {
        return Err(SysError::last("ioctl LOOP_CTL_GET_FREE", "/dev/loop-control"));
    }
    let path = format!("/dev/loop{number}");
    let device = File::open(&path).map_err(|err| SysError::new("open", &path, err))?;
    let config = LoopConfig {
        fd: backing.as_raw_fd().unsigned_abs(),
        block_size: 0,
        device_ids: [0; 3],
        offset: 0,
        size_limit: 0,
        number: 0,
        encrypt_type: 0,
        encrypt_key_size: 0,
        flags: LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR,
        names_and_key: [0; 160],
        init: [0; 2],
        reserved: [0; 8],
    };
    // SAFETY: the kernel reads one loop_config from the pointer, which is to a live struct of that layout.
    if unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &config) } < 0 {
        return Err(SysError::last("ioctl LOOP_CONFIGURE", format!("{path} with {name}")));
    }
    Ok((path, device))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_loop_config_has_the_kernels_size() {
        assert_eq!(std::mem::size_of::<super::LoopConfig>(), 304);
    }
}

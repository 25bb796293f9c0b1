//! Device mapper: a verified view of a block device.

use crate::error::{Result, SysError};
use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::path::Path;

const CONTROL: &str = "/dev/mapper/control";
// linux/dm-ioctl.h: _IOWR(0xfd, number, struct dm_ioctl)
const DM_DEV_CREATE: libc::Ioctl = 0xc138_fd03_u32 as libc::Ioctl;
const DM_DEV_SUSPEND: libc::Ioctl = 0xc138_fd06_u32 as libc::Ioctl;
const DM_TABLE_LOAD: libc::Ioctl = 0xc138_fd09_u32 as libc::Ioctl;
const DM_READONLY: u32 = 1;
/// Text of a table; ours need a quarter of it.
const TEXT: usize = 1024;
const SECTOR: u64 = 512;
const BLOCK: u64 = 4096;

/// `struct dm_ioctl`, `struct dm_target_spec` and the target's text, laid out as in linux/dm-ioctl.h.
#[repr(C)]
struct Request {
    version: [u32; 3],
    data_size: u32,
    data_start: u32,
    target_count: u32,
    open_count: i32,
    flags: u32,
    event_number: u32,
    padding: u32,
    device: u64,
    name: [u8; 128],
    uuid: [u8; 129],
    data: [u8; 7],
    target: Target,
}

#[repr(C)]
struct Target {
    sector_start: u64,
    length: u64,
    status: i32,
    next: u32,
    kind: [u8; 16],
    text: [u8; TEXT],
}

/// What a verified device is made of: `blocks` data blocks of 4096 bytes, and behind them their hash tree (format 1, SHA-256).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verity {
    /// SHA-256 of the topmost hash block, in hex.
    pub root_hash: String,
    /// Data blocks.
    pub blocks: u64,
    /// Salt in hex; may be empty.
    pub salt: String,
}

/// Makes `/dev/dm-0` out of `device`: every block read from it is checked first, and a wrong one brings the machine down, so
/// that its next boot can try something else. Answers the path of the new device.
///
/// # Errors
/// As the ioctls of device mapper: a kernel without it, a device that is too small.
pub fn open_verity(name: &str, device: &Path, verity: &Verity) -> Result<String> {
    let control =
        OpenOptions::new().read(true).write(true).open(CONTROL).map_err(|err| SysError::new("open", CONTROL, err))?;
    let (path, Verity { root_hash, blocks, salt }) = (device.display(), verity);
    let salt = if salt.is_empty() { "-" } else { salt };
    let text =
        format!("1 {path} {path} {BLOCK} {BLOCK} {blocks} {blocks} sha256 {root_hash} {salt} 1 panic_on_corruption");
    // A new one for each call: the kernel answers in place, and what it changes would be refused as a question.
    let request = || {
        request(name, blocks.saturating_mul(BLOCK / SECTOR), &text)
            .ok_or_else(|| SysError::new("dm", name, std::io::Error::from(std::io::ErrorKind::InvalidInput)))
    };
    let mut create = request()?;
    call(&control, DM_DEV_CREATE, "ioctl DM_DEV_CREATE", name, &mut create)?;
    // A dev_t as the kernel packs it: the minor number's low byte first, its rest above the major number.
    let minor = (create.device & 0xff) | ((create.device >> 12) & 0xfff00);
    let mut load = request()?;
    load.target_count = 1;
    call(&control, DM_TABLE_LOAD, "ioctl DM_TABLE_LOAD", &format!("{name}: {text}"), &mut load)?;
    // To suspend without the flag that says so is to resume.
    call(&control, DM_DEV_SUSPEND, "ioctl DM_DEV_SUSPEND", name, &mut *request()?)?;
    Ok(format!("/dev/dm-{minor}"))
}

fn request(name: &str, sectors: u64, text: &str) -> Option<Box<Request>> {
    let mut request = Box::new(Request {
        version: [4, 0, 0],
        data_size: u32::try_from(size_of::<Request>()).ok()?,
        data_start: u32::try_from(std::mem::offset_of!(Request, target)).ok()?,
        target_count: 0,
        open_count: 0,
        flags: DM_READONLY,
        event_number: 0,
        padding: 0,
        device: 0,
        name: [0; 128],
        uuid: [0; 129],
        data: [0; 7],
        target: Target { sector_start: 0, length: sectors, status: 0, next: 0, kind: [0; 16], text: [0; TEXT] },
    });
    // Each keeps a zero at its end.
    request.name.get_mut(..name.len()).filter(|_| name.len() < 128)?.copy_from_slice(name.as_bytes());
    request.target.kind.get_mut(..6)?.copy_from_slice(b"verity");
    request.target.text.get_mut(..text.len()).filter(|_| text.len() < TEXT)?.copy_from_slice(text.as_bytes());
    Some(request)
}

fn call(control: &File, number: libc::Ioctl, name: &'static str, object: &str, request: &mut Request) -> Result<()> {
    let pointer: *mut Request = request;
    // SAFETY: the kernel reads and writes at most `data_size` bytes, which is the size of the live struct behind the pointer.
    match unsafe { libc::ioctl(control.as_raw_fd(), number, pointer) } {
        0 => Ok(()),
        _ => Err(SysError::last(name, object)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_laid_out_as_the_kernel_s() {
        assert_eq!(std::mem::offset_of!(Request, name), 48);
        assert_eq!(std::mem::offset_of!(Request, target), 312);
        assert_eq!(std::mem::offset_of!(Target, text), 40);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(request("root", 8, "1 a b").is_some());
        assert!(request(&"n".repeat(128), 8, "").is_none());
        assert!(request("root", 8, &"t".repeat(TEXT)).is_none());
    }
}

//! Device mapper: a verified view of a block device, a decrypted one.

use crate::error::{Result, SysError};
use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::path::Path;

const CONTROL: &str = "/dev/mapper/control";
// linux/dm-ioctl.h: _IOWR(0xfd, number, struct dm_ioctl)
const DM_DEV_REMOVE: libc::Ioctl = 0xc138_fd04_u32 as libc::Ioctl;
const DM_DEV_CREATE: libc::Ioctl = 0xc138_fd03_u32 as libc::Ioctl;
const DM_DEV_SUSPEND: libc::Ioctl = 0xc138_fd06_u32 as libc::Ioctl;
const DM_TABLE_LOAD: libc::Ioctl = 0xc138_fd09_u32 as libc::Ioctl;
const DM_TABLE_STATUS: libc::Ioctl = 0xc138_fd0c_u32 as libc::Ioctl;
const DM_READONLY: u32 = 1;
/// The kernel wipes its copy of the request.
const DM_SECURE_DATA: u32 = 1 << 15;
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

/// What an encrypted device is made of.
#[derive(Clone)]
pub struct Crypt<'a> {
    /// Cipher, mode and tweak, such as `aes-xts-plain64`.
    pub cipher: &'a str,
    /// Its key.
    pub key: &'a [u8],
    /// Number of the first sector, as the cipher counts.
    pub tweak: u64,
    /// Bytes before the data.
    pub offset: u64,
    /// Bytes that are encrypted as one.
    pub sector: u32,
}

/// Makes a device out of `device`: every block read from it is checked first, and a wrong one is an I/O error to its reader, which
/// [`verity_is_sound`] tells from then on. Answers the path of the new device.
///
/// # Errors
/// As the ioctls of device mapper: a kernel without it, a device that is too small.
pub fn open_verity(name: &str, device: &Path, verity: &Verity) -> Result<String> {
    let (path, Verity { root_hash, blocks, salt }) = (device.display(), verity);
    let salt = if salt.is_empty() { "-" } else { salt };
    let text = format!("1 {path} {path} {BLOCK} {BLOCK} {blocks} {blocks} sha256 {root_hash} {salt}");
    let sectors = blocks.saturating_mul(BLOCK / SECTOR);
    open(&Mapping { name, kind: "verity", sectors, text: &text, flags: DM_READONLY })
}

/// Whether every block that was read so far from the verified device of this name was what its hash says: the kernel's status of it is
/// `V`, and `C` once one was not (Documentation/admin-guide/device-mapper/verity.rst, "Status").
///
/// # Errors
/// There is no device of that name.
pub fn verity_is_sound(name: &str) -> Result<bool> {
    let mut request = Mapping { name, kind: "", sectors: 0, text: "", flags: 0 }.request()?;
    call(&control()?, DM_TABLE_STATUS, "ioctl DM_TABLE_STATUS", name, &mut request)?;
    Ok(!request.target.text.starts_with(b"C"))
}

/// Makes a device out of `device`, of `bytes` bytes in all, that is decrypted as it is read and encrypted as it is written.
/// Answers the path of the new device.
///
/// # Errors
/// As [`open_verity`].
pub fn open_crypt(name: &str, device: &Path, bytes: u64, crypt: &Crypt<'_>) -> Result<String> {
    let Crypt { cipher, key, tweak, offset, sector } = crypt;
    let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let unit = u64::from(*sector).max(SECTOR);
    let sectors = bytes.saturating_sub(*offset) / unit * unit / SECTOR;
    let text = format!("{cipher} {key} {tweak} {} {} 1 sector_size:{sector}", device.display(), offset / SECTOR);
    open(&Mapping { name, kind: "crypt", sectors, text: &text, flags: DM_SECURE_DATA })
}

/// Takes a device away that was made here.
///
/// # Errors
/// It is in use, or there is none of that name.
pub fn close_mapped(name: &str) -> Result<()> {
    let mut request = Mapping { name, kind: "", sectors: 0, text: "", flags: 0 }.request()?;
    call(&control()?, DM_DEV_REMOVE, "ioctl DM_DEV_REMOVE", name, &mut request)
}

/// A device to be.
struct Mapping<'a> {
    name: &'a str,
    kind: &'static str,
    sectors: u64,
    text: &'a str,
    flags: u32,
}

impl Mapping<'_> {
    /// A new one for each call: the kernel answers in place, and what it changes would be refused as a question.
    fn request(&self) -> Result<Box<Request>> {
        let invalid = || SysError::new("dm", self.name, std::io::Error::from(std::io::ErrorKind::InvalidInput));
        request(self).ok_or_else(invalid)
    }
}

fn control() -> Result<File> {
    OpenOptions::new().read(true).write(true).open(CONTROL).map_err(|err| SysError::new("open", CONTROL, err))
}

fn open(mapping: &Mapping<'_>) -> Result<String> {
    let (control, name) = (control()?, mapping.name);
    let mut create = mapping.request()?;
    call(&control, DM_DEV_CREATE, "ioctl DM_DEV_CREATE", name, &mut create)?;
    // A dev_t as the kernel packs it: the minor number's low byte first, its rest above the major number.
    let minor = (create.device & 0xff) | ((create.device >> 12) & 0xfff00);
    let mut load = mapping.request()?;
    load.target_count = 1;
    let loaded = call(&control, DM_TABLE_LOAD, "ioctl DM_TABLE_LOAD", name, &mut load).and_then(|()| {
        // To suspend without the flag that says so is to resume.
        call(&control, DM_DEV_SUSPEND, "ioctl DM_DEV_SUSPEND", name, &mut *mapping.request()?)
    });
    if let Err(err) = loaded {
        let _ = close_mapped(name);
        return Err(err);
    }
    Ok(format!("/dev/dm-{minor}"))
}

fn request(mapping: &Mapping<'_>) -> Option<Box<Request>> {
    let Mapping { name, kind, sectors, text, flags } = *mapping;
    let mut request = Box::new(Request {
        version: [4, 0, 0],
        data_size: u32::try_from(size_of::<Request>()).ok()?,
        data_start: u32::try_from(std::mem::offset_of!(Request, target)).ok()?,
        target_count: 0,
        open_count: 0,
        flags,
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
    request.target.kind.get_mut(..kind.len()).filter(|_| kind.len() < 16)?.copy_from_slice(kind.as_bytes());
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
        fn fits(name: &str, text: &str) -> bool {
            request(&Mapping { name, kind: "verity", sectors: 8, text, flags: 0 }).is_some()
        }
        assert!(fits("root", "1 a b"));
        assert!(!fits(&"n".repeat(128), ""));
        assert!(!fits("root", &"t".repeat(TEXT)));
    }
}

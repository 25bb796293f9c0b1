//! Block devices and what their superblocks say: finding disks by label without udev.

use crate::error::{Result, SysError};
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Bytes from the start of a device that tell what it holds: the superblock of btrfs begins at 64 KiB.
const PROBE: usize = 0x1_1000;
/// Bytes at either end of a device where tables, file systems, arrays and volume groups have their marks.
const EDGE: u64 = 1 << 20;
/// What others keep on disks, by bytes at a place. Nothing here mounts it; who would write over it is told.
const FOREIGN: [(&str, usize, &[u8]); 8] = [
    ("crypto_LUKS", 0, b"LUKS\xba\xbe\0\x01"),
    ("xfs", 0, b"XFSB"),
    ("ntfs", 3, b"NTFS    "),
    ("exfat", 3, b"EXFAT   "),
    ("LVM2_member", 512 + 24, b"LVM2 001"),
    ("swap", 4096 - 10, b"SWAPSPACE2"),
    ("linux_raid_member", 4096, b"\xfc\x4e\x2b\xa9"),
    ("btrfs", 0x1_0040, b"_BHRfS_M"),
];

/// A block device of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockDevice {
    /// Kernel name: `vda`, `nvme0n1p2`.
    pub name: String,
    /// Its node.
    pub path: PathBuf,
}

/// A file system that was recognized, and its label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superblock {
    /// The type to mount it with.
    pub fstype: &'static str,
    /// Volume label, trailing blanks removed.
    pub label: String,
}

/// All block devices and partitions, in order of name; loop and RAM disks left out.
///
/// # Errors
/// sysfs is not mounted.
pub fn block_devices() -> Result<Vec<BlockDevice>> {
    let class = "/sys/class/block";
    let entries = fs::read_dir(class).map_err(|err| SysError::new("readdir", class, err))?;
    let mut devices: Vec<BlockDevice> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !["loop", "ram", "zram", "fd"].iter().any(|prefix| name.starts_with(prefix)))
        .map(|name| BlockDevice { path: Path::new("/dev").join(&name), name })
        .collect();
    devices.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(devices)
}

/// Reads and identifies the superblock of a device; `None` for an unknown or empty one, or a drive without a medium.
///
/// # Errors
/// The device exists and cannot be read.
pub fn read_superblock(path: &Path) -> Result<Option<Superblock>> {
    const ENOMEDIUM: i32 = 123;
    let failed = |err| SysError::new("read", path.display().to_string(), err);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(err) if err.raw_os_error() == Some(ENOMEDIUM) || err.kind() == ErrorKind::NotFound => return Ok(None),
        Err(err) => return Err(failed(err)),
    };
    let mut head = Vec::with_capacity(PROBE);
    file.take(PROBE as u64).read_to_end(&mut head).map_err(failed)?;
    Ok(identify(&head))
}

/// Whether a device has nothing at its beginning and its end, where everything that is kept on disks has its marks: zeros alone, or
/// ones alone, as some flash has where it was erased.
///
/// # Errors
/// It cannot be read.
pub fn is_blank(path: &Path) -> Result<bool> {
    let failed = |err| SysError::new("read", path.display().to_string(), err);
    let mut file = File::open(path).map_err(failed)?;
    let end = file.seek(SeekFrom::End(0)).map_err(failed)?;
    for start in [0, end.saturating_sub(EDGE)] {
        file.seek(SeekFrom::Start(start)).map_err(failed)?;
        let mut bytes = Vec::new();
        Read::by_ref(&mut file).take(EDGE).read_to_end(&mut bytes).map_err(failed)?;
        if [0, 0xff].iter().all(|blank| bytes.iter().any(|byte| byte != blank)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a device holds an ext4 that was never mounted for writing, or nothing that is known here.
///
/// # Errors
/// It cannot be read.
pub fn never_mounted(path: &Path) -> Result<bool> {
    let failed = |err| SysError::new("read", path.display().to_string(), err);
    let mut head = Vec::with_capacity(PROBE);
    File::open(path).and_then(|file| file.take(PROBE as u64).read_to_end(&mut head)).map_err(failed)?;
    Ok(is_unused(&head))
}

/// How many bytes of a device its ext4 file system takes; `None` for another one.
///
/// # Errors
/// It cannot be read.
pub fn ext4_bytes(path: &Path) -> Result<Option<u64>> {
    let failed = |err| SysError::new("read", path.display().to_string(), err);
    let mut head = Vec::with_capacity(PROBE);
    File::open(path).and_then(|file| file.take(PROBE as u64).read_to_end(&mut head)).map_err(failed)?;
    // s_blocks_count_lo and s_log_block_size; ours are far below the size that needs more bits.
    let field = |at: usize| Some(u32::from_le_bytes(head.get(1024 + at..1024 + at + 4)?.try_into().ok()?));
    let size = || Some(u64::from(field(0x4)?) << 10u32.checked_add(field(0x18)?).filter(|shift| *shift <= 16)?);
    Ok(ext4(&head).and_then(|_| size()))
}

fn is_unused(head: &[u8]) -> bool {
    // ext4's s_mtime and s_mnt_count.
    let field = |range| head.get(1024..).and_then(|superblock| superblock.get(range)).unwrap_or_default();
    match identify(head) {
        Some(found) if found.fstype == "ext4" => field(0x2c..0x30) == [0; 4] && field(0x34..0x36) == [0; 2],
        Some(_) => false,
        None => true,
    }
}

/// Identifies the first bytes of a device.
pub fn identify(head: &[u8]) -> Option<Superblock> {
    luks2(head).or_else(|| ext4(head)).or_else(|| iso9660(head)).or_else(|| vfat(head)).or_else(|| foreign(head))
}

fn foreign(head: &[u8]) -> Option<Superblock> {
    let found = FOREIGN.iter().find(|&&(_, at, mark)| head.get(at..at + mark.len()) == Some(mark));
    found.map(|&(fstype, ..)| Superblock { fstype, label: String::new() })
}

fn luks2(head: &[u8]) -> Option<Superblock> {
    (head.get(..8)? == b"LUKS\xba\xbe\0\x02").then_some(())?;
    Some(Superblock { fstype: "crypto_LUKS", label: text(head.get(24..72)?) })
}

fn ext4(head: &[u8]) -> Option<Superblock> {
    let superblock = head.get(1024..)?;
    (superblock.get(0x38..0x3a)? == [0x53, 0xef]).then_some(())?;
    Some(Superblock { fstype: "ext4", label: text(superblock.get(0x78..0x88)?) })
}

fn iso9660(head: &[u8]) -> Option<Superblock> {
    let descriptor = head.get(0x8000..)?;
    (descriptor.get(0..6)? == b"\x01CD001").then_some(())?;
    Some(Superblock { fstype: "iso9660", label: text(descriptor.get(40..72)?) })
}

fn vfat(head: &[u8]) -> Option<Superblock> {
    (head.get(510..512)? == [0x55, 0xaa]).then_some(())?;
    let label = if head.get(82..87)? == b"FAT32" {
        head.get(71..82)?
    } else if head.get(54..57)? == b"FAT" {
        head.get(43..54)?
    } else {
        return None;
    };
    Some(Superblock { fstype: "vfat", label: text(label) })
}

fn text(bytes: &[u8]) -> String {
    let bytes = bytes.split(|b| *b == 0).next().unwrap_or_default();
    String::from_utf8_lossy(bytes).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(size: usize, parts: &[(usize, &[u8])]) -> Vec<u8> {
        let mut head = vec![0; size];
        for (at, bytes) in parts {
            head[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        head
    }

    #[test]
    fn file_systems_are_told_by_their_magic_and_label() {
        let boot: (usize, &[u8]) = (510, &[0x55, 0xaa]);
        let table: Vec<(Vec<u8>, &str, &str)> = vec![
            (with(4096, &[(1024 + 0x38, &[0x53, 0xef]), (1024 + 0x78, b"RK-DATA")]), "ext4", "RK-DATA"),
            (
                with(PROBE, &[(0x8000, b"\x01CD001"), (0x8000 + 40, b"cidata                          ")]),
                "iso9660",
                "cidata",
            ),
            (with(512, &[(0, b"LUKS\xba\xbe\0\x02"), (24, b"RK-DATA")]), "crypto_LUKS", "RK-DATA"),
            (with(512, &[boot, (82, b"FAT32   "), (71, b"CIDATA     ")]), "vfat", "CIDATA"),
            (with(512, &[boot, (54, b"FAT16   "), (43, b"CIDATA     ")]), "vfat", "CIDATA"),
        ];
        for (head, fstype, label) in table {
            assert_eq!(identify(&head), Some(Superblock { fstype, label: label.to_owned() }));
        }
    }

    #[test]
    fn what_others_keep_on_disks_is_told_by_its_marks() {
        for (fstype, at, mark) in FOREIGN {
            assert_eq!(identify(&with(PROBE, &[(at, mark)])), Some(Superblock { fstype, label: String::new() }));
            assert!(!is_unused(&with(PROBE, &[(at, mark)])), "{fstype}");
        }
    }

    #[test]
    fn a_device_is_blank_when_neither_end_holds_anything() {
        let path = std::env::temp_dir().join(format!("rk-sys-blank-{}", std::process::id()));
        let size = 3 * EDGE as usize;
        let blank = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            is_blank(&path).unwrap()
        };
        assert!(blank(&[]) && blank(&vec![0; size]) && blank(&vec![0xff; size]));
        for at in [0, 0x4000, size - 1] {
            assert!(!blank(&with(size, &[(at, &[7])])), "{at}");
        }
        // What lies between is nobody's business: nothing is found without a mark at an end.
        assert!(blank(&with(size, &[(size / 2, &[7])])));
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_file_system_is_unused_until_it_is_mounted() {
        let magic: (usize, &[u8]) = (1024 + 0x38, &[0x53, 0xef]);
        assert!(is_unused(&with(4096, &[])));
        assert!(is_unused(&with(4096, &[magic])));
        assert!(!is_unused(&with(4096, &[magic, (1024 + 0x2c, &[1])])));
        assert!(!is_unused(&with(4096, &[magic, (1024 + 0x34, &[1])])));
        assert!(!is_unused(&with(512, &[(0, b"LUKS\xba\xbe\0\x02")])));
    }

    #[test]
    fn noise_and_short_devices_are_unknown() {
        assert_eq!(identify(&[]), None);
        assert_eq!(identify(&[0x55; 511]), None);
        assert_eq!(identify(&vec![0xff; PROBE]), None);
        assert_eq!(identify(&with(512, &[(510, &[0x55, 0xaa])])), None);
    }
}

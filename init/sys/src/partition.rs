//! Partitions: which there are, and telling the kernel that one has grown.

use crate::error::{Result, SysError};
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

const CLASS: &str = "/sys/class/block";
// linux/blkpg.h, linux/fs.h, linux/ext4.h
const BLKPG: libc::Ioctl = 0x1269;
const BLKRRPART: libc::Ioctl = 0x125f;
const BLKZEROOUT: libc::Ioctl = 0x127f;
const BLKPG_RESIZE_PARTITION: i32 = 3;
const EXT4_IOC_RESIZE_FS: libc::Ioctl = 0x4008_6610;

/// A partition of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionNode {
    /// Its node, such as `/dev/vda3`.
    pub path: PathBuf,
    /// The disk's node, such as `/dev/vda`.
    pub disk: PathBuf,
    /// Its number on the disk.
    pub number: u32,
    /// Its name in the partition table.
    pub name: String,
}

/// All partitions that the kernel has found so far, in order of node.
///
/// # Errors
/// sysfs is not mounted.
pub fn partitions() -> Result<Vec<PartitionNode>> {
    let entries = fs::read_dir(CLASS).map_err(|err| SysError::new("readdir", CLASS, err))?;
    let mut found: Vec<PartitionNode> = entries.flatten().filter_map(|entry| partition(&entry.path())).collect();
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn partition(dir: &Path) -> Option<PartitionNode> {
    let event = fs::read_to_string(dir.join("uevent")).ok()?;
    let field = |key: &str| event.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let number = field("PARTN")?.parse().ok()?;
    // The link leads to .../block/<disk>/<partition>.
    let real = fs::canonicalize(dir).ok()?;
    let disk = Path::new("/dev").join(real.parent()?.file_name()?);
    let path = Path::new("/dev").join(field("DEVNAME")?);
    Some(PartitionNode { path, disk, number, name: field("PARTNAME").unwrap_or_default().to_owned() })
}

/// Bytes of a disk or partition.
///
/// # Errors
/// It is gone, or sysfs says something odd.
pub fn device_bytes(path: &Path) -> Result<u64> {
    // Linux counts in sectors of 512 bytes whatever the disk does.
    number(path, "size").map(|sectors| sectors.saturating_mul(512))
}

/// Bytes of a logical sector of a disk; a partition does not tell.
///
/// # Errors
/// As [`device_bytes`].
pub fn disk_sector(path: &Path) -> Result<u64> {
    number(path, "queue/logical_block_size")
}

fn number(device: &Path, name: &str) -> Result<u64> {
    let file = Path::new(CLASS).join(device.file_name().unwrap_or_default()).join(name);
    let failed = |err| SysError::new("read", file.display().to_string(), err);
    let text = fs::read_to_string(&file).map_err(failed)?;
    text.trim().parse().map_err(|_| failed(std::io::ErrorKind::InvalidData.into()))
}

/// `struct blkpg_partition` and `struct blkpg_ioctl_arg`.
#[repr(C)]
struct BlkpgPartition {
    start: i64,
    length: i64,
    number: i32,
    names: [u8; 128],
}

#[repr(C)]
struct BlkpgArg {
    op: i32,
    flags: i32,
    length: i32,
    data: *mut BlkpgPartition,
}

/// Tells the kernel that partition `number` of `disk` now has `length` bytes from `start`; it may be in use.
///
/// # Errors
/// As the ioctl `BLKPG`.
pub fn resize_partition(disk: &File, number: u32, start: u64, length: u64) -> Result<()> {
    let object = format!("partition {number}");
    let small = |value: u64| {
        i64::try_from(value)
            .map_err(|_| SysError::new("BLKPG", &object, std::io::Error::from(std::io::ErrorKind::InvalidInput)))
    };
    let number = i32::try_from(number).unwrap_or(i32::MAX);
    let mut partition = BlkpgPartition { start: small(start)?, length: small(length)?, number, names: [0; 128] };
    let size = i32::try_from(size_of::<BlkpgPartition>()).unwrap_or(0);
    let arg = BlkpgArg { op: BLKPG_RESIZE_PARTITION, flags: 0, length: size, data: &mut partition };
    // SAFETY: the kernel reads the argument and the partition behind its pointer; both are live structs of its layout.
    if unsafe { libc::ioctl(disk.as_raw_fd(), BLKPG, &arg) } < 0 {
        return Err(SysError::last("ioctl BLKPG_RESIZE_PARTITION", object));
    }
    Ok(())
}

/// Makes the kernel read the partition table of the disk behind `disk` again; `name` is what errors call it.
///
/// # Errors
/// As the ioctl `BLKRRPART`: a partition is in use.
pub fn reread_partitions(disk: &File, name: &str) -> Result<()> {
    // SAFETY: the ioctl takes no argument.
    if unsafe { libc::ioctl(disk.as_raw_fd(), BLKRRPART) } < 0 {
        return Err(SysError::last("ioctl BLKRRPART", name));
    }
    Ok(())
}

/// Fills a range of the disk behind `disk` with zeros, by the disk itself where it can; `name` is told in errors.
///
/// # Errors
/// As the ioctl `BLKZEROOUT`.
pub fn zero_out(disk: &File, name: &str, start: u64, length: u64) -> Result<()> {
    let range = [start, length];
    // SAFETY: the kernel reads two u64 from the pointer, which is to live ones.
    if unsafe { libc::ioctl(disk.as_raw_fd(), BLKZEROOUT, range.as_ptr()) } < 0 {
        return Err(SysError::last("ioctl BLKZEROOUT", name));
    }
    Ok(())
}

/// Grows the mounted ext4 at `mount` to `blocks` of its blocks. A file system that is as large already stays as it is.
///
/// # Errors
/// As the ioctl `EXT4_IOC_RESIZE_FS`.
pub fn grow_ext4(mount: &Path, blocks: u64) -> Result<()> {
    let object = mount.display().to_string();
    let dir = File::open(mount).map_err(|err| SysError::new("open", &object, err))?;
    // SAFETY: the kernel reads one u64 from the pointer, which is to a live one.
    if unsafe { libc::ioctl(dir.as_raw_fd(), EXT4_IOC_RESIZE_FS, &blocks) } < 0 {
        return Err(SysError::last("ioctl EXT4_IOC_RESIZE_FS", object));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_structs_have_the_kernel_s_size() {
        assert_eq!(size_of::<super::BlkpgPartition>(), 152);
        assert_eq!(size_of::<super::BlkpgArg>(), 24);
    }
}

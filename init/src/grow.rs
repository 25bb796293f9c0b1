//! The data partition takes what a disk has beyond the image that was written to it.

use crate::console::Journal;
use rk_gpt::Table;
use rk_sys::{PartitionNode, SysError};
use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Name of the partition in the table. A disk that is not laid out by us is never written to.
const NAME: &str = "rk-data";
/// Bytes of a block of our file systems.
const BLOCK: u64 = 4096;

/// Stretches the partition at `device` to the end of its disk, when it is ours and the last one there. To be done before it is
/// mounted: the table is written before the kernel is told, so a crash in between only means that the kernel tells itself.
pub fn partition(journal: &mut Journal, device: &Path) {
    let Some(ours) = rk_sys::partitions().unwrap_or_default().into_iter().find(|p| p.path == device && p.name == NAME)
    else {
        return;
    };
    match stretch(&ours) {
        Ok(false) => {}
        Ok(true) => journal.say(format_args!("{} takes the rest of {}", ours.path.display(), ours.disk.display())),
        Err(err) => journal.failed("growing the data partition", &err),
    }
}

/// Lets the file system that is mounted at `mount` fill its partition at `device`.
pub fn file_system(journal: &mut Journal, device: &Path, mount: &Path) {
    let grown = rk_sys::device_bytes(device).and_then(|bytes| rk_sys::grow_ext4(mount, bytes / BLOCK));
    journal.check("growing the data file system", grown);
}

fn stretch(ours: &PartitionNode) -> Result<bool, SysError> {
    let (sector, bytes) = (rk_sys::disk_sector(&ours.disk)?, rk_sys::device_bytes(&ours.disk)?);
    let object = ours.disk.display().to_string();
    let failed = |call: &'static str| {
        let object = object.clone();
        move |source| SysError { call, object, source }
    };
    let mut disk = OpenOptions::new().read(true).write(true).open(&ours.disk).map_err(failed("open"))?;
    let mut start = Vec::new();
    Read::by_ref(&mut disk).take(Table::decode_bytes(sector)).read_to_end(&mut start).map_err(failed("read"))?;
    let mut table = Table::decode(&start, sector)
        .map_err(|err| failed("read")(Error::new(ErrorKind::InvalidData, err.to_string())))?;
    let number = table.grow(bytes / sector.max(1));
    if number.and_then(|n| u32::try_from(n).ok()) != Some(ours.number) {
        return Ok(false);
    }
    let boot_code = start.get(..440).unwrap_or_default();
    write_table(&mut disk, &table, boot_code).map_err(failed("write"))?;
    let Some(grown) = number.and_then(|n| table.partitions.get(n - 1)) else { return Ok(false) };
    rk_sys::resize_partition(&disk, ours.number, grown.first * sector, grown.sectors() * sector)?;
    Ok(true)
}

/// The copy at the end first: until the one at the start points to it, nobody looks there.
fn write_table(disk: &mut File, table: &Table, boot_code: &[u8]) -> std::io::Result<()> {
    let bytes = table.encode(boot_code);
    for (at, bytes) in [(bytes.end_at, &bytes.end), (0, &bytes.start)] {
        disk.seek(SeekFrom::Start(at))?;
        disk.write_all(bytes)?;
        disk.sync_all()?;
    }
    Ok(())
}

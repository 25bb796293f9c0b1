//! A disk image made for other sectors: what was laid out for disks of 512 bytes, sent to one of 4096.
//!
//! Slots and file systems of blocks of 4096 bytes lie at whole MiB and stay as they are. What counts in sectors is made anew: the
//! partition table, and the FAT of the EFI partition, whose sectors must not be smaller than the disk's.

use super::fat;
use super::installed::{SECTOR, Window};
use anyhow::{Context, Result, ensure};
use rk_gpt::{Partition, Table};
use rk_slots::ESP;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// The sectors that images are made for.
pub const IMAGE_SECTOR: u64 = SECTOR;
const MIB: u64 = 1 << 20;
/// Folders below one another on an EFI partition of ours.
const MOST_DEPTH: usize = 8;

/// A raw disk image, read from its start with some parts replaced.
#[derive(Debug)]
pub struct Resectored {
    file: File,
    bytes: u64,
    at: u64,
    /// In order, apart from one another.
    parts: Vec<(u64, Vec<u8>)>,
}

impl Resectored {
    /// Opens an image for disks with sectors of `sector` bytes; 512 leaves it as it is.
    ///
    /// # Errors
    /// It is no image of ours, or such sectors do not exist.
    pub fn open(path: &Path, sector: u64) -> Result<Resectored> {
        let mut file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        let bytes = file.metadata()?.len();
        let parts = match sector {
            SECTOR => Vec::new(),
            4096 => parts(&mut file, bytes, sector).with_context(|| format!("laying out {} anew", path.display()))?,
            other => anyhow::bail!("no disk is made for with sectors of {other} bytes"),
        };
        file.seek(SeekFrom::Start(0))?;
        Ok(Resectored { file, bytes, at: 0, parts })
    }

    /// Its size.
    pub fn size(&self) -> u64 {
        self.bytes
    }
}

fn parts(file: &mut File, bytes: u64, sector: u64) -> Result<Vec<(u64, Vec<u8>)>> {
    let mut start = Vec::new();
    Read::by_ref(file).take(Table::decode_bytes(SECTOR)).read_to_end(&mut start)?;
    let table = Table::decode(&start, SECTOR)?;
    let esp = table.partitions.iter().find(|partition| partition.name == ESP).context("no EFI partition")?;
    let room = esp.sectors() * SECTOR;
    let files = files(Window::of(file.try_clone()?, esp)).context("reading the EFI partition")?;
    let named: Vec<(&str, &[u8])> = files.iter().map(|(path, data)| (path.as_str(), data.as_slice())).collect();
    let mut volume = fat::volume_of(sector.try_into()?, "RK-ESP", room - MIB, &named)?.bytes;
    ensure!(volume.len() as u64 <= room, "the files do not fit the EFI partition");
    volume.resize(room.try_into()?, 0);
    let times = sector / SECTOR;
    let partitions = table.partitions.iter().map(|partition| larger(partition, times)).collect::<Result<_>>()?;
    ensure!(bytes.is_multiple_of(sector), "the image ends within a sector of {sector} bytes");
    let esp_at = esp.first * SECTOR;
    let ends = Table { sector, sectors: bytes / sector, partitions, disk: table.disk }
        .encode(start.get(..440).unwrap_or_default());
    Ok(vec![(0, ends.start), (esp_at, volume), (ends.end_at, ends.end)])
}

/// The same place counted in larger sectors.
fn larger(partition: &Partition, times: u64) -> Result<Partition> {
    let end = partition.last + 1;
    ensure!(
        partition.first.is_multiple_of(times) && end.is_multiple_of(times),
        "partition {} does not lie at whole sectors",
        partition.name
    );
    Ok(Partition { first: partition.first / times, last: end / times - 1, ..partition.clone() })
}

/// All files of the EFI partition, by path.
fn files(esp: Window) -> Result<Vec<(String, Vec<u8>)>> {
    let volume = fatfs::FileSystem::new(esp, fatfs::FsOptions::new())?;
    let mut found = Vec::new();
    let mut folders = vec![(String::new(), volume.root_dir())];
    while let Some((path, folder)) = folders.pop() {
        ensure!(path.split('/').count() <= MOST_DEPTH, "its folders are too deep");
        for entry in folder.iter() {
            let entry = entry?;
            let name = entry.file_name();
            if entry.is_dir() {
                if name != "." && name != ".." {
                    folders.push((format!("{path}{name}/"), entry.to_dir()));
                }
                continue;
            }
            let mut data = Vec::new();
            entry.to_file().read_to_end(&mut data)?;
            found.push((format!("{path}{name}"), data));
        }
    }
    Ok(found)
}

impl Read for Resectored {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let at = self.at;
        let inside = self.parts.iter().find(|(start, data)| (*start..*start + data.len() as u64).contains(&at));
        let size = match inside {
            Some((start, data)) => {
                let rest = usize::try_from(at - start).ok().and_then(|from| data.get(from..)).unwrap_or_default();
                (&mut &*rest).read(buffer)?
            }
            None => {
                let next = self.parts.iter().map(|(start, _)| *start).filter(|start| *start > at).min();
                self.file.seek(SeekFrom::Start(at))?;
                (&mut self.file).take(next.unwrap_or(self.bytes).saturating_sub(at)).read(buffer)?
            }
        };
        self.at += size as u64;
        Ok(size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rk_gpt::Guid;
    use std::io::{Cursor, Write};

    /// A disk of 16 MiB with an EFI partition at 2 MiB, and something in the partition behind it.
    fn image(dir: &Path) -> std::path::PathBuf {
        let part = |name: &str, first: u64, mib: u64| Partition {
            kind: Guid::ESP,
            id: Guid::ESP,
            first: first * MIB / SECTOR,
            last: (first + mib) * MIB / SECTOR - 1,
            attributes: 0,
            name: name.to_owned(),
        };
        let partitions = vec![part("rk-bios", 1, 1), part(ESP, 2, 20), part("rk-root-a", 22, 2)];
        let table = Table { disk: Guid::ESP, sector: SECTOR, sectors: 25 * MIB / SECTOR, partitions };
        let ends = table.encode(&[7; 440]);
        let esp =
            fat::volume("RK-ESP", 0, &[("EFI/Linux/rk-00001-a.efi", b"MZ one"), ("grub/grubenv", b"env")]).unwrap();
        let mut bytes = vec![0; 25 << 20];
        bytes[..ends.start.len()].copy_from_slice(&ends.start);
        bytes[2 << 20..][..esp.bytes.len()].copy_from_slice(&esp.bytes);
        bytes[22 << 20..][..4].copy_from_slice(b"root");
        let end = ends.end_at as usize;
        bytes[end..].copy_from_slice(&ends.end);
        let path = dir.join("rk.raw");
        File::create(&path).unwrap().write_all(&bytes).unwrap();
        path
    }

    #[test]
    fn the_same_partitions_and_files_are_found_by_who_counts_in_larger_sectors() {
        let dir = tempfile::tempdir().unwrap();
        let path = image(dir.path());
        let mut bytes = Vec::new();
        Resectored::open(&path, 4096).unwrap().read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len(), 25 << 20);
        let table = Table::decode(&bytes, 4096).unwrap();
        assert!(Table::decode(&bytes, 512).is_err(), "the old table is still there");
        let places: Vec<(u64, u64)> =
            table.partitions.iter().map(|p| (p.first * 4096 / MIB, p.sectors() * 4096 / MIB)).collect();
        assert_eq!(places, [(1, 1), (2, 20), (22, 2)]);
        assert_eq!((&bytes[..3], &bytes[22 << 20..][..4]), (&[7, 7, 7][..], b"root".as_slice()));
        let esp = bytes[2 << 20..22 << 20].to_vec();
        assert_eq!(esp[11..13], 4096_u16.to_le_bytes());
        let volume = fatfs::FileSystem::new(Cursor::new(esp), fatfs::FsOptions::new()).unwrap();
        for (path, wanted) in [("EFI/Linux/rk-00001-a.efi", "MZ one"), ("grub/grubenv", "env")] {
            let mut text = String::new();
            volume.root_dir().open_file(path).unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, wanted);
        }
    }

    #[test]
    fn for_the_sectors_that_it_was_made_for_an_image_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = image(dir.path());
        let mut bytes = Vec::new();
        Resectored::open(&path, 512).unwrap().read_to_end(&mut bytes).unwrap();
        assert!(bytes == std::fs::read(&path).unwrap());
        assert!(Resectored::open(&path, 520).is_err());
    }
}
